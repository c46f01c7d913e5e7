# One image for both programs: /manager, the operator, and /acmeserver, what it runs. Nothing else is in it: its TLS
# peers (the Kubernetes API, the database) have authorities of their own, and its log has UTC.

# From binaries that `make build` left in bin/, for machines that reach no container registry:
#   docker build --target prebuilt .
FROM scratch AS prebuilt
COPY bin/manager bin/acmeserver /
USER 65532:65532
ENTRYPOINT ["/manager"]

FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ARG TARGETOS
ARG TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/ ./cmd/manager ./cmd/acmeserver

FROM scratch
COPY --from=build /out/ /
USER 65532:65532
ENTRYPOINT ["/manager"]
