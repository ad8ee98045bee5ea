"""HTTP: short endpoints, and helper processes that check specs with torch and draw."""
