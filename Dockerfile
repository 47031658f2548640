# The digests are of the indexes for all architectures; `docker buildx imagetools inspect IMAGE` tells newer ones. Change
# tag and digest together.
FROM rust:1.95-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
WORKDIR /pounce
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/target \
    CARGO_TARGET_DIR=/target cargo build --release --locked && \
    cp /target/release/pounce /usr/local/bin/pounce && \
    mkdir -p /empty

# The C library, certificates and nothing to log in to; it runs as "nonroot" (65532).
FROM gcr.io/distroless/cc-debian12:nonroot@sha256:9dac0a79194e45a7da0158a9c6da57b217585af0786db3845d1f0ec1a0dd182f
COPY --from=build /usr/local/bin/pounce /pounce
# Where registry:2 keeps what it has, for those who use no bucket.
COPY --from=build --chown=nonroot:nonroot /empty /var/lib/registry
ENV REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/var/lib/registry
VOLUME /var/lib/registry
EXPOSE 5000
# There is no shell and no curl. With a configuration file, set REGISTRY_CONFIGURATION_PATH, which both commands read.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s CMD ["/pounce", "check", "--alive"]
ENTRYPOINT ["/pounce"]
CMD ["serve"]
