{{- define "throughline.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Pods are named after it with a number, and a label holds 63 characters. */}}
{{- define "throughline.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "throughline.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "throughline.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "throughline.selector" -}}
app.kubernetes.io/name: {{ include "throughline.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "throughline.labels" -}}
{{ include "throughline.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "throughline.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "throughline.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "throughline.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "throughline.tokenSecret" -}}
{{- default (printf "%s-admin" (include "throughline.fullname" .)) .Values.admin.existingSecret.name -}}
{{- end -}}

{{- define "throughline.tokenKey" -}}
{{- if .Values.admin.existingSecret.name -}}{{ .Values.admin.existingSecret.key }}{{- else -}}token{{- end -}}
{{- end -}}

{{/* What the chart knows better than the user's configuration. */}}
{{- define "throughline.own" -}}
{{- $properties := deepCopy .Values.kafka.properties -}}
{{- with .Values.kafka.tls -}}
{{- if .secret -}}
{{- $_ := set $properties "ssl.ca.location" (printf "/etc/throughline-tls/%s" .caKey) -}}
{{- if .certificateKey -}}
{{- $_ := set $properties "ssl.certificate.location" (printf "/etc/throughline-tls/%s" .certificateKey) -}}
{{- $_ := set $properties "ssl.key.location" (printf "/etc/throughline-tls/%s" .privateKeyKey) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $paths := list -}}
{{- range .Values.rules.bundled -}}
{{- $paths = append $paths (printf "/etc/throughline/rules/%s" .) -}}
{{- end -}}
{{- if or .Values.rules.files .Values.rules.existingConfigMap -}}
{{- $paths = append $paths "/etc/throughline-rules" -}}
{{- end -}}
{{- $own := dict "kafka" (dict "brokers" .Values.kafka.brokers "properties" $properties) -}}
{{- $_ := set $own "rules" (dict "paths" $paths) -}}
{{- $_ := set $own "admin" (dict "listen" (printf "0.0.0.0:%d" (int .Values.admin.port))) -}}
{{- toYaml $own -}}
{{- end -}}

{{/* The configuration file: the user's, and what the chart knows better. */}}
{{- define "throughline.config" -}}
{{- toYaml (merge (include "throughline.own" . | fromYaml) .Values.config) -}}
{{- end -}}

{{/* What the service and the test of it have in common: variables, mounts, volumes. */}}
{{- define "throughline.env" -}}
{{- $existing := .Values.existingConfig }}
- name: THROUGHLINE_CONFIG
  value: /etc/throughline-config/{{ if $existing.configMap }}{{ $existing.key }}{{ else }}throughline.yaml{{ end }}
{{- if $existing.configMap }}
{{- $own := include "throughline.own" . | fromYaml }}
- name: THROUGHLINE_KAFKA__BROKERS
  value: {{ $own.kafka.brokers | quote }}
{{- range $name, $value := $own.kafka.properties }}
- name: THROUGHLINE_KAFKA__PROPERTIES__{{ $name | replace "." "__" | upper }}
  value: {{ toString $value | quote }}
{{- end }}
- name: THROUGHLINE_RULES__PATHS
  value: {{ toJson $own.rules.paths | quote }}
- name: THROUGHLINE_ADMIN__LISTEN
  value: {{ $own.admin.listen | quote }}
{{- end }}
- name: THROUGHLINE_INSTANCE
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: THROUGHLINE_STATE__DIRECTORY
  value: /var/lib/throughline/state
- name: THROUGHLINE_ADMIN__TOKEN
  valueFrom: {secretKeyRef: {name: {{ include "throughline.tokenSecret" . }}, key: {{ include "throughline.tokenKey" . }}}}
{{- range .Values.kafka.secretProperties }}
- name: THROUGHLINE_KAFKA__PROPERTIES__{{ .property | replace "." "__" | upper }}
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "throughline.mounts" -}}
- {name: config, mountPath: /etc/throughline-config, readOnly: true}
{{- if or .Values.rules.files .Values.rules.existingConfigMap }}
- {name: rules, mountPath: /etc/throughline-rules, readOnly: true}
{{- end }}
{{- if .Values.kafka.tls.secret }}
- {name: tls, mountPath: /etc/throughline-tls, readOnly: true}
{{- end }}
{{- end -}}

{{- define "throughline.volumes" -}}
- name: config
  configMap: {name: {{ default (include "throughline.fullname" .) .Values.existingConfig.configMap }}}
{{- if or .Values.rules.files .Values.rules.existingConfigMap }}
- name: rules
  configMap: {name: {{ default (printf "%s-rules" (include "throughline.fullname" .)) .Values.rules.existingConfigMap }}}
{{- end }}
{{- if .Values.kafka.tls.secret }}
# Readable for our group: 0440.
- name: tls
  secret: {secretName: {{ .Values.kafka.tls.secret }}, defaultMode: 288}
{{- end }}
{{- end -}}

{{- define "throughline.testResources" -}}
resources:
  requests: {cpu: 10m, memory: 64Mi}
  limits: {memory: 256Mi}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}
