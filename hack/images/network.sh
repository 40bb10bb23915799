#!/bin/bash
# Builds the image of the agent that enforces NetworkPolicies: network.sh IMAGE AGENT_EXECUTABLE
set -euo pipefail
[ "$1" = --describe ] && { echo "packing the image of the agent for NetworkPolicies (some seconds)"; exit; }
. "$(dirname "$0")/scratch.sh"
scratch_image "$1" "$2"
