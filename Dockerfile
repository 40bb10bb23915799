# One image for the operator and every service: two static executables, the certificates to trust, and the licences. It is
# built by hack/image.sh, whose directory of files (rootfs/) is the build context.
FROM scratch
COPY rootfs/ /
ENV PATH=/usr/local/bin
USER 65532:65532
CMD ["quicksale", "--help"]
