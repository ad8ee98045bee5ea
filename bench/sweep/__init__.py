"""The sweep of 12 trainings on digits, by Normlab and by what people would use instead."""
