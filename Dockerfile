# syntax=docker/dockerfile:1
# One image for scheduler, worker and migrations: the command chooses.

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/mqtasks
COPY pyproject.toml LICENSE README.md ./
COPY mqtasks ./mqtasks
RUN /opt/mqtasks/bin/pip install --no-cache-dir '.[speed]'

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin mqtasks
COPY --from=build /opt/mqtasks /opt/mqtasks
ENV PATH=/opt/mqtasks/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# Mount or COPY your own modules here; `mqtasks worker MODULE:APP` finds them in the working folder.
WORKDIR /app
USER 10001
ENTRYPOINT ["mqtasks"]
CMD ["--help"]
