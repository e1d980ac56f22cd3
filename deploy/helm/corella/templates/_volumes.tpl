{{/* Volumes of a component and where they are mounted: (dict "root" $ "name" NAME "component" ITS LINE). */}}

{{- define "corella.secretKeys" -}}
{{- $keys := .component.secrets -}}
{{- if and .component.milvus (include "corella.milvusToken" .root) }}{{ $keys = append $keys "milvus-token" }}{{ end -}}
{{ toJson $keys }}
{{- end -}}

{{- define "corella.encrypted" -}}
{{- if and .component.tls (ne .root.Values.tls.mode "none") -}}true{{- end -}}
{{- end -}}

{{- define "corella.volumes" -}}
{{- $values := .root.Values -}}
{{- $keys := include "corella.secretKeys" . | fromJsonArray -}}
- name: tmp
  emptyDir: {sizeLimit: {{ (get $values .component.values).tmpSize }}}
{{- if $keys }}
- name: secrets
  secret:
    secretName: {{ $values.secrets.existingSecret }}
    defaultMode: 0440
    items:
      {{- range $keys }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
{{- end }}
{{- if include "corella.encrypted" . }}
- name: tls
  secret:
    secretName: {{ include "corella.tlsSecret" (dict "root" .root "name" .component.tls) }}
    defaultMode: 0440
{{- end }}
{{- if .component.models }}
- name: models
  {{- include "corella.modelVolume" .root | nindent 2 }}
{{- end }}
{{- range tuple "blobs" "shelf" }}
{{- if and (has . $.component.volumes) (not (get $values.storage .).url) }}
- name: {{ . }}
  {{- include "corella.storageVolume" (dict "root" $.root "name" .) | nindent 2 }}
{{- end }}
{{- end }}
{{- if has "state" .component.volumes }}
- name: state
  emptyDir: {}
{{- end }}
{{- if has "shm" .component.volumes }}
# Processes hand tensors to each other here; a container has 64 MiB by itself.
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ (get $values .component.values).sharedMemorySize }}}
{{- end }}
{{- if has "sources" .component.volumes }}
{{- range $values.sources.directories }}
- name: source-{{ .name }}
  persistentVolumeClaim: {claimName: {{ .existingClaim }}, readOnly: true}
{{- end }}
{{- with $values.sources.existingSecret }}
- name: source-secrets
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- with (get $values .component.values).extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "corella.volumeMounts" -}}
{{- $values := .root.Values -}}
- {name: tmp, mountPath: /tmp}
{{- if include "corella.secretKeys" . | fromJsonArray }}
- {name: secrets, mountPath: /etc/corella/secrets, readOnly: true}
{{- end }}
{{- if include "corella.encrypted" . }}
# The whole folder: a file mounted alone would not be renewed when its certificate is.
- {name: tls, mountPath: /etc/corella/tls, readOnly: true}
{{- end }}
{{- if .component.models }}
- {name: models, mountPath: /models, readOnly: true}
{{- end }}
{{- if and (has "blobs" .component.volumes) (not $values.storage.blobs.url) }}
- {name: blobs, mountPath: /var/lib/corella/blobs}
{{- end }}
{{- if and (has "shelf" .component.volumes) (not $values.storage.shelf.url) }}
- {name: shelf, mountPath: /var/lib/corella/shelf{{ if eq .name "generator" }}, readOnly: true{{ end }}}
{{- end }}
{{- if has "state" .component.volumes }}
- {name: state, mountPath: /var/lib/corella/state}
{{- end }}
{{- if has "shm" .component.volumes }}
- {name: shm, mountPath: /dev/shm}
{{- end }}
{{- if has "sources" .component.volumes }}
{{- range $values.sources.directories }}
- {name: source-{{ .name }}, mountPath: /srv/sources/{{ .name }}, readOnly: true}
{{- end }}
{{- if $values.sources.existingSecret }}
- {name: source-secrets, mountPath: /etc/corella/source-secrets, readOnly: true}
{{- end }}
{{- end }}
{{- with (get $values .component.values).extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "corella.modelVolume" -}}
{{- if eq .Values.models.volume.kind "emptyDir" -}}
emptyDir: {sizeLimit: {{ .Values.models.volume.size }}}
{{- else -}}
persistentVolumeClaim: {claimName: {{ .Values.models.volume.existingClaim | default (include "corella.object" (dict "root" . "name" "models")) }}}
{{- end -}}
{{- end -}}

{{- define "corella.storageVolume" -}}
persistentVolumeClaim: {claimName: {{ (get .root.Values.storage .name).existingClaim | default (include "corella.object" .) }}}
{{- end -}}

{{/* Fetches the models that a pod needs, and does nothing where they are there already: (dict "root" $ "models" [embedding, …]). */}}
{{- define "corella.modelContainer" -}}
{{- $models := .root.Values.models -}}
{{- $sources := list -}}
{{- range .models }}
{{- with get $models . }}
{{- if and .source .name }}{{ $sources = append $sources (printf "%s=%s" .name .source) }}{{ end -}}
{{- end }}
{{- end -}}
{{- if $sources -}}
- name: models
  image: {{ include "corella.image" (dict "root" .root "image" "models") }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [python, -m, corella.local.pull_models, --folder, /models]
  args: {{ toJson $sources }}
  env:
    - {name: HOME, value: /tmp}
    - {name: HF_HUB_DISABLE_TELEMETRY, value: "1"}
    {{- with $models.hubTokenSecret.name }}
    - name: HF_TOKEN
      valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ $models.hubTokenSecret.key }}}}
    {{- end }}
  {{- with .root.Values.storage.credentialsSecret }}
  envFrom:
    - secretRef: {name: {{ . }}}
  {{- end }}
  resources: {{- toYaml $models.resources | nindent 4 }}
  securityContext: {{- include "corella.containerSecurity" .root | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
    - {name: models, mountPath: /models}
{{- end -}}
{{- end -}}
