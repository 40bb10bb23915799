{{- define "quicksale.operatorName" -}}
{{ .Release.Name }}-operator
{{- end }}

{{/* What is cluster-wide, or in namespaces that several releases may watch, carries both names of the release. */}}
{{- define "quicksale.fullName" -}}
quicksale:{{ .Release.Namespace }}:{{ .Release.Name }}
{{- end }}

{{- define "quicksale.selector" -}}
app.kubernetes.io/name: quicksale-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "quicksale.labels" -}}
{{ include "quicksale.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "quicksale.consoleName" -}}
{{ .Release.Name }}-console
{{- end }}

{{- define "quicksale.consoleSelector" -}}
app.kubernetes.io/name: quicksale-console
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "quicksale.consoleLabels" -}}
{{ include "quicksale.consoleSelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* What the operator makes network policies from. The console reads metrics, as a Prometheus would. */}}
{{- define "quicksale.network" -}}
{{- $network := omit .Values.networkPolicy "apiServerPorts" }}
{{- /* What is not said is left out: an image that is older than the chart would not know of it. */ -}}
{{- range list "collectorPeers" "collectorPorts" }}
{{- if not (index $network .) }}{{ $network = omit $network . }}{{ end }}
{{- end }}
{{- if .Values.console.enabled }}
{{- $console := dict
  "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" .Release.Namespace))
  "podSelector" (dict "matchLabels" (include "quicksale.consoleSelector" . | fromYaml)) }}
{{- $network = set $network "monitoringPeers" (append $network.monitoringPeers $console) }}
{{- end }}
{{- $network | toJson }}
{{- end }}

{{- define "quicksale.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{- define "quicksale.adminSecret" -}}
{{ .Values.admin.existingSecret | default "quicksale-admin" }}
{{- end }}

{{/* Labels of what Prometheus and Grafana select by labels: a dict of root, own. Own ones have precedence. */}}
{{- define "quicksale.monitoringLabels" -}}
{{ merge (dict) (.own | default dict) (include "quicksale.labels" .root | fromYaml) | toYaml }}
{{- end }}
