# The page, served by an ordinary user from a file system that cannot be written to.
#
#   docker build --tag limelight .
#   docker run --rm --publish 127.0.0.1:7860:7860 --env LIMELIGHT_AUTH=USER:PASSWORD \
#     --read-only --tmpfs /tmp:size=1g,mode=1777,noexec,nosuid,nodev --cap-drop ALL \
#     --security-opt no-new-privileges --pids-limit 256 --memory 6g limelight
#
# docs/page.md says what each of these is for.
FROM python:3.12-slim

# What is written at all is written to /tmp, and nothing is asked of any host.
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    USER=limelight \
    HOME=/tmp \
    TMPDIR=/tmp \
    XDG_CACHE_HOME=/tmp \
    MPLCONFIGDIR=/tmp \
    TORCH_HOME=/tmp/torch \
    HF_HUB_OFFLINE=1 \
    MALLOC_ARENA_MAX=2

# torch without CUDA is a tenth of the size: --build-arg TORCH_WHEELS=URL, that of PyTorch's wheels
# for CPUs.
ARG TORCH_WHEELS=""
RUN pip install ${TORCH_WHEELS:+--index-url "$TORCH_WHEELS"} torch torchvision

WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install '.[cli,page]' \
    && python -m compileall -q "$(python -c 'import limelight, os; print(os.path.dirname(limelight.__file__))')" \
    && rm -rf /build/* \
    && useradd --system --no-create-home --shell /usr/sbin/nologin --uid 10001 limelight

WORKDIR /tmp
USER 10001
EXPOSE 7860

# /health answers without a password, and says 503 when a request cannot be stopped.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=4)"]

# Without LIMELIGHT_AUTH it does not start: other machines would ask without a password.
ENTRYPOINT ["limelight", "page", "--host", "0.0.0.0", "--port", "7860"]
