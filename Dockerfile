# The program on glibc and CA certificates, without a shell or a package manager. docs/image.md says
# what is in the image, and how it is built for amd64 and arm64. Every command is one of
# scripts/image.

# Both stages use the same Debian: a program built against a newer glibc does not run on an older
# one.
FROM rust:1.95-trixie AS build
WORKDIR /build

# Only the manifests, so that this layer stays until a dependency changes.
COPY Cargo.toml Cargo.lock ./
COPY .cargo/config.toml .cargo/
COPY tests/support/azure/Cargo.toml tests/support/azure/
COPY tests/support/basics/Cargo.toml tests/support/basics/
COPY tests/support/harness/Cargo.toml tests/support/harness/
COPY tests/support/kubernetes/Cargo.toml tests/support/kubernetes/
COPY scripts/image scripts/
RUN scripts/image dependencies

COPY build.rs ./
COPY proto proto
COPY src src
# Reported by keda-sift --version, the log and the metric keda_sift_build_info.
ARG REVISION=unknown
RUN scripts/image program out/keda-sift && scripts/image pages out/keda-sift out/share

FROM gcr.io/distroless/cc-debian13:nonroot
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="keda-sift" \
      org.opencontainers.image.description="A KEDA external scaler that counts only the messages a Job handles" \
      org.opencontainers.image.source="https://github.com/keda-sift/keda-sift" \
      org.opencontainers.image.documentation="https://github.com/keda-sift/keda-sift/blob/main/README.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian13:nonroot"
COPY LICENSE /usr/share/doc/keda-sift/
COPY --from=build /build/out/share /usr/share/
COPY --from=build /build/out/keda-sift /usr/local/bin/

# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 9090 9091
ENTRYPOINT ["/usr/local/bin/keda-sift"]
CMD ["serve"]
