{{/* Parts of pods that all workloads share. */}}

{{/* How a pod is begun: (dict "root" $ "priority" "serving" or "training"). */}}
{{- define "corella.podStart" -}}
serviceAccountName: {{ include "corella.serviceAccount" .root }}
automountServiceAccountToken: false
# Else Kubernetes would set CORELLA_RETRIEVER_PORT and the like for every Service, which are names of settings.
enableServiceLinks: false
{{- with include "corella.priorityClass" . }}
priorityClassName: {{ . }}
{{- end }}
securityContext: {{- include "corella.podSecurity" .root | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "corella.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "corella.fullname" .) }}
{{- end -}}

{{/* Where a pod may run: (dict "root" $ "name" NAME "values" GROUP). */}}
{{- define "corella.placement" -}}
{{- $gpu := .values.gpu | default dict -}}
{{- with merge dict (.values.nodeSelector | default dict) (ternary $gpu.nodeSelector dict (eq (toString $gpu.enabled) "true") | default dict) }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat (.values.tolerations | default list) (ternary $gpu.tolerations list (eq (toString $gpu.enabled) "true") | default list) }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and $gpu.enabled $gpu.runtimeClassName }}
runtimeClassName: {{ $gpu.runtimeClassName }}
{{- end }}
{{- end -}}

{{/* Replicas on different nodes and in different zones where there are such. */}}
{{- define "corella.spread" -}}
{{- $context := . -}}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "corella.selectorLabels" $context | nindent 8 }}
    # Those of a former version do not count while a new one is rolled out.
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end -}}

{{/* Resources of a container, and its GPUs. */}}
{{- define "corella.resources" -}}
{{- $gpu := .gpu | default dict -}}
{{- $resources := deepCopy .resources -}}
{{- if $gpu.enabled -}}
{{- $_ := set $resources "limits" (merge (dict $gpu.resourceName $gpu.count) ($resources.limits | default dict)) -}}
{{- end -}}
{{ toYaml $resources }}
{{- end -}}

{{/* Scraping by annotation, where no PodMonitor does it: the port's number. */}}
{{- define "corella.scrapeAnnotations" -}}
{{- if not .root.Values.telemetry.podMonitor.enabled -}}
prometheus.io/scrape: "true"
prometheus.io/path: /metrics
prometheus.io/port: {{ .port | quote }}
{{- end -}}
{{- end -}}
