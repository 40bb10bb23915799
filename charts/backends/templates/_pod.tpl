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

{{/* A password from the Secret that holds them, as an environment variable. */}}
{{- define "backends.password" -}}
- name: PASSWORD
  valueFrom: {secretKeyRef: {name: backends-passwords, key: {{ .name }}}}
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
