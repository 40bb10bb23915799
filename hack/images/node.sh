#!/bin/bash
# Builds a node image for kind from Debian packages, kind's own base files and the Kubernetes binaries:
#   node.sh IMAGE KUBERNETES_DIR CONTAINERD_DIR ETCD_DIR KUBERNETES_VERSION KIND_VERSION DEBIAN_RELEASE
set -euo pipefail
[ "$1" = --describe ] && { echo "building the Kubernetes node image (about 2 min)"; exit; }
image=$1 kubernetes=$2 runtime=$3 etcd=$4 version=$5 release=$7
base=$(go mod download -json "sigs.k8s.io/kind@$6" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')/images/base
here=$(cd "$(dirname "$0")" && pwd)
. "$here/scratch.sh"
work=$(mktemp -d)
container=
trap '[ -z "$container" ] || docker rm -f "$container"; rm -rf "$work"' EXIT
root=$work/root

install_packages() {
  debootstrap --variant=minbase --include="$(tr -s ' \n' , <<<"systemd systemd-sysv dbus conntrack iptables nftables
    iproute2 ethtool util-linux mount kmod libseccomp2 pigz e2fsprogs bash ca-certificates curl jq procps runc
    containernetworking-plugins socat" | sed 's/,$//')" "$release" "$root"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/usr/share/{doc,man,locale}/*
}

# What kind expects of a node; see images/base in its source.
install_base_files() {
  local files=$base/files
  mkdir -p "$root"/kind/{bin,manifests} "$root"/etc/{containerd,kubernetes/manifests,cni/net.d} "$root/opt/cni/bin" \
    "$root/etc/systemd/system/kubelet.service.d"
  install -D -m755 "$files/usr/local/bin/entrypoint" "$root/usr/local/bin/entrypoint"
  install -m755 "$files"/kind/bin/* "$root/kind/bin/"
  cp "$files/etc/crictl.yaml" "$root/etc/"
  cp "$files"/etc/containerd/* "$root/etc/containerd/"
  cp "$files"/etc/default/* "$root/etc/default/"
  cp "$files"/etc/sysctl.d/* "$root/etc/sysctl.d/"
  cp "$files"/etc/systemd/system/*.{service,slice} "$root/etc/systemd/system/"
  cp "$files"/etc/systemd/system/kubelet.service.d/* "$root/etc/systemd/system/kubelet.service.d/"
  chmod -R u+rwX,go+rX "$root/etc/systemd" "$root/etc/containerd" "$root/kind"
  # Lowering an out-of-memory score takes CAP_SYS_RESOURCE, which not every host can give.
  sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$root/etc/containerd/config.toml"
  # A container has no hardware, mounts or kernel log of its own to look after.
  rm -f "$root"/lib/systemd/system/{multi-user,local-fs,basic}.target.wants/* "$root"/etc/systemd/system/*.wants/* \
    "$root"/lib/systemd/system/sockets.target.wants/*{udev,initctl}* \
    "$root/lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service"
  echo ReadKMsg=no >>"$root/etc/systemd/journald.conf"
  echo "$version" >"$root/kind/version"
}

install_binaries() {
  install -m755 "$runtime"/{containerd,ctr,containerd-shim-runc-v2} "$root/usr/local/bin/"
  install -m755 "$kubernetes"/{kubelet,kubeadm,kubectl} "$root/usr/bin/"
  cp "$root"/usr/lib/cni/{host-local,loopback,ptp,portmap,bridge} "$root/opt/cni/bin/"
  ln -sf /usr/sbin/runc "$root/usr/local/sbin/runc"
  chroot "$root" systemctl enable kubelet.service containerd.service undo-mount-hacks.service
  chroot "$root" systemctl mask systemd-binfmt.service
  chroot "$root" ctr oci spec | jq '.hooks.createContainer += [{path: "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' \
    >"$root/etc/containerd/cri-base.json"
}

# One node needs no daemon to route between pods: the ptp plugin on the node's own range does. kind applies the two
# manifests itself.
install_network_and_storage() {
  cat >"$root/etc/cni/net.d/10-ptp.conflist" <<'X'
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipMasq": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
X
  cat >"$root/kind/manifests/default-cni.yaml" <<'X'
apiVersion: v1
kind: ConfigMap
metadata: {name: cni-in-node-image, namespace: kube-system}
X
  cat >"$root/kind/manifests/default-storage.yaml" <<'X'
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: standard}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
X
}

# A process that does nothing but hold a pod's namespaces, and reap the processes that others leave behind.
pause_executable() {
  gcc -O2 -static -s -x c -o "$work/pause" - <<'X'
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void stop(int s) { _exit(0); }
static void reap(int s) { while (waitpid(-1, 0, WNOHANG) > 0); }
int main() { signal(SIGINT, stop); signal(SIGTERM, stop); signal(SIGCHLD, reap); for (;;) pause(); }
X
}

# The images that kubeadm starts the control plane from, and the one that containerd starts every pod with.
system_images() {
  "$kubernetes/kubeadm" config images list --kubernetes-version "$version"
  sed -n 's/.*sandbox\(_image\)\? = "\(.*\)"/\2/p' "$root/etc/containerd/config.toml"
}

build_system_image() {
  case $1 in
    */kube-proxy:*)
      debootstrap --variant=minbase --include=iptables,conntrack,kmod,nftables,ipset "$release" "$work/proxy"
      rm -rf "$work"/proxy/var/cache/apt/archives/*.deb "$work"/proxy/usr/share/{doc,man,locale}/*
      install -m755 "$kubernetes/kube-proxy" "$work/proxy/usr/local/bin/"
      tar -C "$work/proxy" -c . | docker import - "$1"
      ;;
    */kube-*) scratch_image "$1" "$kubernetes/$(basename "${1%:*}")" ;;
    */coredns:*) scratch_image "$1" "$runtime/coredns" ;;
    */etcd:*) scratch_image "$1" "$etcd/etcd" ;;
    */pause:*) scratch_image "$1" "$work/pause" ;;
    *) echo "kubeadm asks for $1, which this script cannot build" >&2; return 1 ;;
  esac
}

# Imports the images into the node's containerd, which has to run for that, in a container made from the node's files.
commit_with_images() {
  local entrypoint='ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]'
  tar -C "$root" -c . | docker import --change "$entrypoint" --change 'ENV container=docker' - "$image-files"
  container=$(docker run -d --entrypoint=sleep --security-opt seccomp=unconfined "$image-files" infinity)
  docker exec -d "$container" sh -c 'exec containerd >/tmp/containerd.log 2>&1'
  docker exec "$container" sh -c 'for i in $(seq 50); do ctr version >/dev/null 2>&1 && exit; sleep 0.2; done; cat /tmp/containerd.log; exit 1'
  docker save "$@" | docker exec -i "$container" ctr --namespace=k8s.io images import --label=io.cri-containerd.pinned=pinned --no-unpack --digests -
  docker exec "$container" sh -c 'pkill containerd; while pgrep -x containerd >/dev/null; do sleep 0.1; done; rm -f /tmp/containerd.log'
  docker commit --change "$entrypoint" "$container" "$image"
  docker rm -f "$container"
  container=
}

install_packages
install_base_files
install_binaries
install_network_and_storage
pause_executable
mapfile -t images < <(system_images | sort -u)
for name in "${images[@]}"; do build_system_image "$name"; done
commit_with_images "${images[@]}"
# Only the node needs these names; on this host they would look like the official images.
docker rmi "${images[@]}" "$image-files" || true
