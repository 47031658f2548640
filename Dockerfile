# The digest is of the index for all architectures; `docker buildx imagetools inspect IMAGE` tells a newer one. Change tag
# and digest together.
FROM rust:1.95-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
WORKDIR /pounce
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/target \
    packaging/root.sh "$(CARGO_TARGET_DIR=/target packaging/program.sh "$(dpkg --print-architecture)")" /image

# The program, certificates, and nothing to log in to. `make release` builds from here on, of a program that is there.
FROM scratch
COPY --from=build /image/root /
# Where registry:2 keeps its content; with a bucket, nothing is written there.
COPY --from=build --chown=65532:65532 /image/registry /var/lib/registry
ENV REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/var/lib/registry
LABEL org.opencontainers.image.title=pounce org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.description="An OCI registry that caches others in a bucket"
VOLUME /var/lib/registry
EXPOSE 5000
USER 65532:65532
# There is no shell and no curl. With a configuration file, set REGISTRY_CONFIGURATION_PATH, which both commands read.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s CMD ["/pounce", "check", "--alive"]
ENTRYPOINT ["/pounce"]
CMD ["serve"]
