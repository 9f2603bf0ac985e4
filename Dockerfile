# Marquee without vLLM, which has an image of its own; compose.yaml puts the two together.
FROM python:3.11-slim

# For example --extra-index-url and an index with CPU builds of torch, for a smaller image.
ARG PIP_ARGUMENTS=""

# hadolint ignore=DL3064  # TOKENIZERS_PARALLELISM is no secret
ENV HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

WORKDIR /app
COPY requirements.txt requirements-otel.txt ./
RUN pip install --no-cache-dir $PIP_ARGUMENTS -r requirements.txt -r requirements-otel.txt

# The program writes to var/ only, and only there may it.
RUN useradd --system --create-home --uid 10001 marquee && mkdir var && chown marquee var
COPY main.py ./
COPY cli cli
COPY prompts prompts
COPY similarity similarity
COPY llm llm
COPY tabular tabular
COPY eval eval
COPY lookup lookup
COPY corpus corpus
COPY marquee marquee
COPY training training
COPY service service
COPY bulk bulk
COPY data data
# By its number: Kubernetes checks that it is not root, and cannot by a name.
USER 10001

EXPOSE 5000
# Without a key (docker run ... python main.py keys add NAME) it starts only with -e MARQUEE_ALLOW_ANONYMOUS=true.
# Loading the models takes a while at first; after that, healthy means able to answer.
HEALTHCHECK --interval=15s --timeout=10s --start-period=180s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:5000/readyz', timeout=8)"]
CMD ["python", "main.py", "serve", "--host", "0.0.0.0", "--port", "5000"]
