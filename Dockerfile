# One image for every part of Normlab; docker-compose.yml gives each service its command.

# Only the dependencies' names leave this stage: another change of pyproject.toml must not install gigabytes again.
FROM python:3.11-slim AS requirements
WORKDIR /build
COPY pyproject.toml .
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*project['dependencies'], *project['optional-dependencies']['s3'], sep='\n')" > requirements.txt

FROM python:3.11-slim
# Wheels near the build (a folder or a page of links); empty means the registry alone.
ARG PIP_FIND_LINKS
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

# The image comes without bytecode, and processes that write none would compile the standard library at each start.
RUN python -c "import compileall, sysconfig; compileall.compile_dir(sysconfig.get_path('stdlib'), quiet=2, workers=0)"

# The folders of the volumes: a new volume takes over their owner.
RUN useradd --system --uid 10001 --user-group --create-home normlab \
 && install --directory --owner normlab --group normlab /srv/normlab/storage /srv/normlab/mlartifacts /srv/normlab/data

WORKDIR /build
COPY --from=requirements /build/requirements.txt ./
COPY constraints.txt .
RUN python -m pip install --constraint constraints.txt --requirement requirements.txt

COPY . .
RUN python -m pip install --no-deps . && python -m pip check

WORKDIR /srv/normlab
USER normlab
CMD ["python", "-m", "runtime.http_server", "api.app:make_app", "--factory", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "5"]
