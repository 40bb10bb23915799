# shellcheck shell=bash
# Sourced by bash: writes ACLs in Kafka's own protocol, over a listener without TLS where whoever asks is a superuser.
# The command that comes with Kafka takes a start of Java for each operation; this takes milliseconds.

# Bytes are kept as escapes until they are sent, because a variable holds no zero.
kafka_int16() { printf '\\x%02x\\x%02x' $(($1 >> 8 & 255)) $(($1 & 255)); }
kafka_int32() { kafka_int16 $(($1 >> 16)); kafka_int16 "$1"; }
kafka_string() { kafka_int16 ${#1}; printf '%s' "$1"; }

# kafka_call PORT KEY BODY BYTES ANSWER-LENGTH: sends a request of version 1 whose body has so many bytes, and prints as much
# of the answer, in hex.
kafka_call() {
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
  # Length, key, version, correlation id, no client id.
  printf '%b' "$(kafka_int32 $(($4 + 10)))$(kafka_int16 "$2")\x00\x01\x00\x00\x00\x01\xff\xff$3" >&3
  timeout 10 head -c "$5" <&3 | od -An -v -tx1 | tr -d ' \n'
  exec 3>&-
}

# kafka_delete_acls PORT: one filter (DeleteAcls is 31) that matches all.
kafka_delete_acls() {
  local answer
  answer=$(kafka_call "$1" 31 '\x00\x00\x00\x01\x01\xff\xff\x01\xff\xff\xff\xff\x01\x01' 14 18)
  # Length, correlation id, throttling, one result, no error.
  [ "${answer:8}" = 0000000100000000000000010000 ]
}

# kafka_create_acls PORT FILE: one request (CreateAcls is 30) for all lines of the file, each of which is a user, an
# operation, literal or prefixed, and a topic.
kafka_create_acls() {
  local user operation pattern topic body='' bytes=4 count=0 answer wanted
  while read -r user operation pattern topic; do
    case $operation in Read) operation=3 ;; Write) operation=4 ;; Create) operation=5 ;; Delete) operation=6 ;; Describe) operation=8 ;; *) return 1 ;; esac
    case $pattern in literal) pattern=3 ;; prefixed) pattern=4 ;; *) return 1 ;; esac
    # A topic (2) and its name, the user from any host, the operation, allowed (3).
    body+="\x02$(kafka_string "$topic")\x0$pattern$(kafka_string "User:$user")$(kafka_string '*')\x0$operation\x03"
    bytes=$((bytes + 1 + 2 + ${#topic} + 1 + 7 + ${#user} + 3 + 2)) count=$((count + 1))
  done <"$2"
  answer=$(kafka_call "$1" 30 "$(kafka_int32 $count)$body" $bytes $((16 + count * 4)))
  # Correlation id, throttling, and for each ACL no error and an empty message.
  wanted=$(printf '0000000100000000%08x%0*d' $count $((count * 8)) 0)
  [ "${answer:8}" = "$wanted" ]
}

# kafka_grant PORT FILE APPLIED: makes the ACLs those of the file; APPLIED remembers which they were. Fails while the
# broker is not there yet.
kafka_grant() {
  if [ -f "$3" ] && ! cmp -s "$2" "$3"; then kafka_delete_acls "$1" || return 1; fi
  kafka_create_acls "$1" "$2" && cp "$2" "$3"
}
