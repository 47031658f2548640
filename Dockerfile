FROM rust:1.95-slim-bookworm AS build
WORKDIR /pounce
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/target \
    CARGO_TARGET_DIR=/target cargo build --profile dist --locked && \
    cp /target/dist/pounce /usr/local/bin/pounce && \
    mkdir -p /empty

# The C library, certificates and nothing to log in to; it runs as "nonroot" (65532).
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /usr/local/bin/pounce /pounce
# Where registry:2 keeps what it has, for those who use no bucket.
COPY --from=build --chown=nonroot:nonroot /empty /var/lib/registry
ENV REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/var/lib/registry
EXPOSE 5000
ENTRYPOINT ["/pounce"]
CMD ["serve"]
