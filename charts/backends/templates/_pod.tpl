{{/* Arguments of all: a dict of root (the chart's context) and name (kafka, mongodb or redis). */}}

{{- define "backends.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "backends.image" -}}
{{- if eq .root.Values.flavor "sourceBuilt" -}}
{{- required "images.sourceBuilt must be set when flavor is sourceBuilt" .root.Values.images.sourceBuilt -}}
{{- else -}}
{{- get .root.Values.images .name -}}{{- with get .root.Values.digests .name -}}@{{ . }}{{- end -}}
{{- end -}}
{{- end }}

{{- define "backends.host" -}}
{{ .name }}.{{ .root.Release.Namespace }}.svc
{{- end }}

{{- define "backends.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "backends.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* A key as PKCS#8, which Kafka asks for, from one of the curve P-256 as genPrivateKey makes it: those are 121 bytes (SEC 1),
     which the curve's name at 39 to 51 is taken out of, and PKCS#8 says it before them. */}}
{{- define "backends.pkcs8" -}}
{{- $key := regexReplaceAll "-----[^-]+-----|\\s" . "" | b64dec -}}
{{- $before := b64dec "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0waw==" -}}
-----BEGIN PRIVATE KEY-----
{{ regexReplaceAll ".{64}" (printf "%s%s%s" $before (substr 2 39 $key) (substr 51 121 $key) | b64enc) "${0}\n" }}
-----END PRIVATE KEY-----
{{- end }}

{{/* Topics that a user may use: of all names, or of the sales whose topics begin with one of the prefixes. */}}
{{- define "backends.acls" -}}
{{- $prefixes := .Values.kafka.topicPrefixes }}
{{- range $grant := .Files.Get "files/grants.json" | fromJson }}
{{- range $operation, $topics := $grant.kafka }}
{{- if not $prefixes }}
{{ $grant.user }} {{ $operation }} literal *
{{- end }}
{{- range $prefix := $prefixes }}
{{- range $topic := $topics }}
{{ $grant.user }} {{ $operation }} {{ empty $topic | ternary "prefixed" "literal" }} {{ $prefix }}{{ $topic }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What a pod of a backend has of the Secrets: the authority, its own key and certificate … */}}
{{- define "backends.tls" -}}
- name: tls
  secret:
    secretName: backends-tls
    defaultMode: 0440
    items: [{key: ca.crt, path: ca.crt}, {key: {{ .name }}.pem, path: server.pem}]
{{- end }}

{{/* … and the passwords of its users. */}}
{{- define "backends.passwords" -}}
- name: passwords
  secret:
    secretName: backends-passwords
    defaultMode: 0440
    items:
    {{- range $service, $grant := .root.Files.Get "files/grants.json" | fromJson }}
    {{- if hasKey $grant $.name }}
    - {key: {{ $.name }}-{{ $service }}, path: {{ $service }}}
    {{- end }}
    {{- end }}
{{- end }}

{{/* A pod is started anew when what it runs with has changed. */}}
{{- define "backends.annotations" -}}
quicksale.io/grants: {{ .root.Files.Get "files/grants.json" | sha256sum }}
{{- end }}

{{- define "backends.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  labels: {{- include "backends.labels" . | nindent 4 }}
spec:
  selector: {{- include "backends.labels" . | nindent 4 }}
  ports:
  - {name: {{ .name }}, port: {{ .port }}, targetPort: {{ .name }}}
{{- end }}

{{/* Clients come in at one port, and only questions for names go out: each is one process that talks to itself on loopback. */}}
{{- define "backends.policy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .name }}
  labels: {{- include "backends.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "backends.labels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: {{- toYaml .root.Values.clients | nindent 4 }}
    ports: [{protocol: TCP, port: {{ .port }}}]
  egress:
  - ports:
    {{- range list 53 5353 }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}
