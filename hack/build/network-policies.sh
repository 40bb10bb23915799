#!/bin/bash
# Builds the agent that enforces NetworkPolicies on a node, from its Go module: network-policies.sh DIR VERSION
set -euo pipefail
[ "$1" = --describe ] && { echo "building the agent for NetworkPolicies (about 2 min)"; exit; }
. "$(dirname "$0")/go-module.sh"

new_module network-policies
cp -r "$(module_source "sigs.k8s.io/kube-network-policies@$2")" source
chmod -R u+w source
cd source

# It hands packets to itself by nftables' own word for that, which some kernels are built without; the target of iptables
# does the same, and kube-proxy needs its kind anyway.
agent=pkg/networkpolicy/controller.go
sed -i -e 's/^\tqueue := &expr\.Queue{.*/\tqueue := queueTarget(c.config.QueueID)/' \
  -e '/^\tif c\.config\.FailOpen {$/{N;/queue\.Flag/{N;d}}' "$agent"
! grep -n 'expr\.Queue' "$agent" || { echo "this version queues packets in another way: look at $agent" >&2; exit 1; }
cat >pkg/networkpolicy/queue_target.go <<'X'
package networkpolicy

import (
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

func queueTarget(number int) *expr.Target {
	// struct xt_NFQ_info: a number of two bytes, padded to eight.
	info := xt.Unknown(append(binaryutil.NativeEndian.PutUint16(uint16(number)), 0, 0, 0, 0, 0, 0))
	return &expr.Target{Name: "NFQUEUE", Info: &info}
}
X
static_build -ldflags "-s -w" -o "$1/network-policies" ./cmd
