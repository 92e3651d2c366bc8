{{/* What no schema can say: values that do not go together. All that is wrong is said at once. */}}
{{- define "throughline.checks" -}}
{{- $wrong := list -}}
{{- $locality := default "instance" .Values.config.locality -}}
{{- if not .Values.kafka.brokers -}}
{{- $wrong = append $wrong "kafka.brokers is empty: name at least one host:port" -}}
{{- end -}}
{{- if and .Values.config.input .Values.existingConfig.configMap -}}
{{- $wrong = append $wrong "config.input and existingConfig.configMap are both set: take one of them" -}}
{{- else if not (or .Values.config.input .Values.existingConfig.configMap) -}}
{{- $wrong = append $wrong "config.input is empty: name the topics to read, e.g. config.input[0].topics={security-events}, or an existingConfig.configMap" -}}
{{- end -}}
{{- if not (or .Values.rules.bundled .Values.rules.files .Values.rules.existingConfigMap) -}}
{{- $wrong = append $wrong "no rules: set rules.bundled, rules.files or rules.existingConfigMap" -}}
{{- end -}}
{{- if and .Values.rules.files .Values.rules.existingConfigMap -}}
{{- $wrong = append $wrong "rules.files and rules.existingConfigMap are both set: take one of them" -}}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (ne $locality "partition") -}}
{{- $wrong = append $wrong (printf "replicas is %d, but with config.locality: %s one instance reads all partitions: set replicas to 1, or config.locality to partition if the topics are partitioned by the correlation key" (int .Values.replicas) $locality) -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- if ne $locality "partition" -}}
{{- $wrong = append $wrong (printf "autoscaling.enabled needs config.locality: partition, not %s" $locality) -}}
{{- end -}}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) -}}
{{- $wrong = append $wrong "autoscaling.minReplicas is greater than autoscaling.maxReplicas" -}}
{{- end -}}
{{- end -}}
{{- range $key := list "kafka" "instance" "rules" "admin" -}}
{{- if hasKey $.Values.config $key -}}
{{- $instead := ternary "the pod's name is the instance" (printf "set the value %s of the chart" $key) (eq $key "instance") -}}
{{- $wrong = append $wrong (printf "config.%s may not be set: %s" $key $instead) -}}
{{- end -}}
{{- end -}}
{{- if hasKey (default dict .Values.config.state) "directory" -}}
{{- $wrong = append $wrong "config.state.directory may not be set: it is the volume of the pod" -}}
{{- end -}}
{{- $drain := toString (default "30s" .Values.config.drain_timeout) -}}
{{- if not (regexMatch "^[0-9]+(s|m)$" $drain) -}}
{{- $wrong = append $wrong (printf "config.drain_timeout must be in s or m, e.g. 30s, not %s" $drain) -}}
{{- else -}}
{{- $seconds := mul (int (regexFind "[0-9]+" $drain)) (ternary 60 1 (hasSuffix "m" $drain)) -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) (int (add $seconds 15)) -}}
{{- $wrong = append $wrong (printf "terminationGracePeriodSeconds is %d, less than config.drain_timeout (%s) and 15 s to stop and leave the group: Kubernetes would kill a pod that drains" (int .Values.terminationGracePeriodSeconds) $drain) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := .Values.kafka.properties -}}
{{- if regexMatch "(password|secret|\\.pem$)" $name -}}
{{- $wrong = append $wrong (printf "kafka.properties.%s is a secret and would stand in a ConfigMap: put it into a Secret and name that in kafka.secretProperties" $name) -}}
{{- end -}}
{{- end -}}
{{- if ne (empty .Values.kafka.tls.certificateKey) (empty .Values.kafka.tls.privateKeyKey) -}}
{{- $wrong = append $wrong "kafka.tls.certificateKey and kafka.tls.privateKeyKey belong together: set both or none" -}}
{{- end -}}
{{- if and .Values.kafka.tls.certificateKey (not .Values.kafka.tls.secret) -}}
{{- $wrong = append $wrong "kafka.tls.certificateKey names a key of kafka.tls.secret, which is empty" -}}
{{- end -}}
{{- if and .Values.kafka.tls.secret (not (has (index .Values.kafka.properties "security.protocol" | default "" | upper) (list "SSL" "SASL_SSL"))) -}}
{{- $wrong = append $wrong "kafka.tls.secret is set, but kafka.properties has no security.protocol SSL or SASL_SSL" -}}
{{- end -}}
{{- if $wrong -}}
{{- fail (printf "\n\nThese values do not work:\n  - %s\n" (join "\n  - " $wrong)) -}}
{{- end -}}
{{- end -}}
