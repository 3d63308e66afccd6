{{- define "tallyd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "tallyd.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "tallyd.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "tallyd.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "tallyd.selector" -}}
app.kubernetes.io/name: {{ include "tallyd.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tallyd.labels" -}}
{{ include "tallyd.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "tallyd.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* The part of the configuration that depends on the rest of the pod. */}}
{{- define "tallyd.base" -}}
state_dir: /var/lib/tallyd
admin:
  listen: {{ if .Values.metrics.enabled }}"0.0.0.0:{{ .Values.metrics.port }}"{{ else }}"127.0.0.1:{{ .Values.metrics.port }}"{{ end }}
  socket: /run/tallyd-admin/admin.sock
listeners:
{{- range $protocol := list "json" "statsd" }}
{{- with index $.Values.ports $protocol }}
  - protocol: {{ $protocol }}
    address: "0.0.0.0:{{ . }}"
{{- with $.Values.allow }}
    allow: {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.socket.enabled }}
  - { protocol: json, transport: unix_datagram, path: /run/tallyd/json.socket, mode: "0666" }
  - { protocol: statsd, transport: unix_datagram, path: /run/tallyd/dsd.socket, mode: "0666" }
{{- end }}
{{- end }}

{{/* Without any privilege; the same for each container that runs tallyd. */}}
{{- define "tallyd.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "tallyd.probe" -}}
exec:
  command: [/usr/bin/tallyd, health, --admin, "unix:/run/tallyd-admin/admin.sock"{{ if . }}, --ready{{ end }}]
timeoutSeconds: 10
{{- end }}
