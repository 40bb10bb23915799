#!/bin/bash
# Writes docs/backends.md: what is said by hand (docs/backends-head.md), and the tables from charts/backends/files/grants.json.
set -euo pipefail
cd "$(dirname "$0")/.."
cat docs/backends-head.md
jq -r '
def code: "`" + gsub("[|]"; "\\|") + "`";
def listed: map(code) | join(", ");
def databases: if . == "accounts" then "that of the accounts" else "that of the sale" end;
def collections: if . == "" then "all of it" else code end;

"\n## MongoDB: a role for each service",
"| user | database | collection | actions |", "|---|---|---|---|",
(to_entries[] | .value as $grant | (.value.mongodb // {}) | to_entries[] | .key as $database | .value | to_entries[]
 | "| \($grant.user | code) | \($database | databases) | \(.key | collections) | \(.value | listed) |"),

"\n## Kafka: ACLs on the topics of a sale",
"Each name has `spec.kafka.topicPrefix` before it.\n",
"| user | operation | topics |", "|---|---|---|",
(to_entries[] | .value as $grant | (.value.kafka // {}) | to_entries[]
 | "| \($grant.user | code) | \(.key) | \(if .value == [""] then "all that begin with the prefix" else .value | listed end) |"),

"\n## Redis: patterns of keys, and commands",
"| user | keys | commands |", "|---|---|---|",
(to_entries[] | .value | select(.redis) | "| \(.user | code) | \(.redis.keys | listed) | \(.redis.commands | listed) |")
' charts/backends/files/grants.json
