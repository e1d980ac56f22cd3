{{/* The Deployment of a component: (dict "root" $ "name" NAME "component" ITS LINE OF corella.components). */}}
{{- define "corella.component" -}}
{{- $root := .root -}}
{{- $component := .component -}}
{{- $values := get $root.Values $component.values -}}
{{- $single := $component.single | default false -}}
{{- $metrics := add $root.Values.portBase $component.metrics -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "corella.object" . }}
  labels: {{- include "corella.labels" . | nindent 4 }}
spec:
  {{- if $single }}
  replicas: 1
  # Never two clocks, not even for the time of an upgrade.
  strategy: {type: Recreate}
  {{- else }}
  {{- if eq $values.autoscaling.kind "none" }}
  replicas: {{ $values.replicas }}
  {{- end }}
  strategy: {{- toYaml $values.strategy | nindent 4 }}
  {{- end }}
  revisionHistoryLimit: 5
  selector:
    matchLabels: {{- include "corella.selectorLabels" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "corella.labels" . | nindent 8 }}
        {{- with $values.podLabels }}{{ toYaml . | nindent 8 }}{{ end }}
      annotations:
        kubectl.kubernetes.io/default-container: {{ .name }}
        {{- with include "corella.scrapeAnnotations" (dict "root" $root "port" $metrics) }}{{ . | nindent 8 }}{{ end }}
        {{- with $values.podAnnotations }}{{ toYaml . | nindent 8 }}{{ end }}
    spec:
      {{- include "corella.podStart" (dict "root" $root "priority" $component.priority) | nindent 6 }}
      terminationGracePeriodSeconds: {{ include "corella.graceSeconds" . }}
      {{- with include "corella.placement" (dict "root" $root "name" .name "values" $values) }}{{ . | nindent 6 }}{{ end }}
      {{- if not $single }}
      {{- include "corella.spread" . | nindent 6 }}
      {{- end }}
      {{- with include "corella.modelContainer" (dict "root" $root "models" $component.models) }}
      initContainers: {{- . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .name }}
          image: {{ include "corella.image" (dict "root" $root "image" $component.image) }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: [python, -m, {{ $component.module }}]
          env: {{- include "corella.environment" . | trim | nindent 12 }}
          {{- if and $root.Values.storage.credentialsSecret (or (has "blobs" $component.volumes) (has "shelf" $component.volumes)) }}
          envFrom:
            - secretRef: {name: {{ $root.Values.storage.credentialsSecret }}}
          {{- end }}
          ports:
            {{- if $component.grpc }}
            - {name: grpc, containerPort: {{ add $root.Values.portBase $component.grpc }}}
            - {name: health, containerPort: {{ add $root.Values.portBase $component.health }}}
            {{- end }}
            - {name: metrics, containerPort: {{ $metrics }}}
          {{- include "corella.probes" . | nindent 10 }}
          resources: {{- include "corella.resources" $values | nindent 12 }}
          securityContext: {{- include "corella.containerSecurity" $root | nindent 12 }}
          volumeMounts: {{- include "corella.volumeMounts" . | nindent 12 }}
      volumes: {{- include "corella.volumes" . | nindent 8 }}
{{- end -}}

{{/* How long a pod may take to end: until clients know, until running calls are over, and something for closing. */}}
{{- define "corella.graceSeconds" -}}
{{- $values := get .root.Values .component.values -}}
{{- if .component.grpc -}}
{{ add $values.drainDelaySeconds $values.drainSeconds 10 }}
{{- else -}}
{{ $values.graceSeconds }}
{{- end -}}
{{- end -}}

{{/*
gRPC services are asked by the standard health check, on a port without TLS that has nothing but that. The others have no port but that of
their metrics, which a thread of theirs answers. Neither looks at Redis or Milvus: restarting a pod mends nothing that is away.
*/}}
{{- define "corella.probes" -}}
{{- $values := get .root.Values .component.values -}}
{{- if .component.grpc -}}
{{- $check := printf "grpc: {port: %d}" (add .root.Values.portBase .component.health | int) -}}
# Until the model is loaded. {{ $values.startupSeconds }} s in all.
startupProbe:
  {{ $check }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: {{ div (add $values.startupSeconds 4) 5 }}
readinessProbe:
  {{ $check }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
livenessProbe:
  {{ $check }}
  periodSeconds: 10
  timeoutSeconds: 10
  failureThreshold: 6
{{- else -}}
startupProbe:
  httpGet: {path: /metrics, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: {{ div (add $values.startupSeconds 4) 5 }}
readinessProbe:
  httpGet: {path: /metrics, port: metrics}
  periodSeconds: 15
  timeoutSeconds: 10
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /metrics, port: metrics}
  periodSeconds: 30
  timeoutSeconds: 20
  failureThreshold: 3
{{- end -}}
{{- end -}}
