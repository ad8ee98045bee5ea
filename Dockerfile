# One image for every part of Normlab; docker-compose.yml gives each service its command.

# The base image, also by its digest: python@sha256:…
ARG PYTHON_IMAGE=python:3.11-slim

# Only the dependencies' names and versions leave this stage: another change of pyproject.toml, or a new version of a tool
# for tests in constraints.txt, must not install gigabytes again.
FROM ${PYTHON_IMAGE} AS requirements
WORKDIR /build
COPY pyproject.toml locks/image.txt ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*project['dependencies'], *project['optional-dependencies']['s3'], *project['optional-dependencies']['otel'], sep='\n')" > requirements.txt \
 && sed -n '/==/s/ *\\$//p' image.txt > versions.txt

FROM ${PYTHON_IMAGE}
# Wheels near the build (a folder or a page of links), and an index beside the registry; empty means the registry alone.
# From an index of CPU builds of PyTorch (2.14.1+cpu counts as newer than 2.14.1), an image comes without CUDA's libraries.
ARG PIP_FIND_LINKS
ARG PIP_EXTRA_INDEX_URL
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

# The image comes without bytecode, and processes that write none would compile the standard library at each start.
RUN python -c "import compileall, sysconfig; compileall.compile_dir(sysconfig.get_path('stdlib'), quiet=2, workers=0)"

# The folders of the volumes: a new volume takes over their owner.
RUN useradd --system --uid 10001 --user-group --create-home normlab \
 && install --directory --owner normlab --group normlab /srv/normlab/storage /srv/normlab/mlartifacts /srv/normlab/data /srv/normlab/tmp

WORKDIR /build
COPY --from=requirements /build/requirements.txt /build/versions.txt /build/image.txt ./
# Each file is compared with its hash. A place beside the registry has other builds, of which only the versions are known.
RUN if [ -n "$PIP_EXTRA_INDEX_URL$PIP_FIND_LINKS" ]; \
    then python -m pip install --constraint versions.txt --requirement requirements.txt; \
    else python -m pip install --require-hashes --requirement image.txt; fi

COPY . .
RUN python -m pip install --no-deps . && python -m pip check

WORKDIR /srv/normlab
USER normlab
# Before each command, secrets are read from the files that variables like NORMLAB_MLFLOW_TOKEN_FILE name.
ENTRYPOINT ["python", "-m", "runtime.secret_files"]
CMD ["python", "-m", "runtime.http_server", "api.app:make_app", "--factory", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "5"]
