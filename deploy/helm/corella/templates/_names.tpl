{{/* Names, labels and places: how objects of a release are called and reached. */}}

{{- define "corella.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}{{ .Release.Name }}{{- else -}}{{ .Release.Name }}-{{ $name }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* The name of a component's objects: (dict "root" $ "name" "embedder"). Of a long release name as much as
leaves room for the longest component and what Kubernetes appends to a pod's name. */}}
{{- define "corella.object" -}}
{{ include "corella.fullname" .root | trunc 31 | trimSuffix "-" }}-{{ .name }}
{{- end -}}

{{- define "corella.selectorLabels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{/* Labels of everything, (dict "root" $ "name" COMPONENT); without a name for what belongs to no component. */}}
{{- define "corella.labels" -}}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .name }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: corella
{{- end -}}

{{/* One of our images: (dict "root" $ "image" "embedder"). A digest wins over the tag. */}}
{{- define "corella.image" -}}
{{- $image := .root.Values.image -}}
{{- $digest := get $image.digests .image -}}
{{ $image.registry }}/{{ .image }}{{ if $digest }}@{{ $digest }}{{ else }}:{{ $image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end -}}

{{/* An image of somebody else: its values group. */}}
{{- define "corella.foreignImage" -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end -}}

{{- define "corella.host" -}}
{{ include "corella.object" . }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}
{{- end -}}

{{/* What a gRPC client is given: every pod's address, so that calls go to all of them in turn. */}}
{{- define "corella.target" -}}
{{- $component := get (include "corella.components" .root | fromYaml) .name -}}
dns:///{{ include "corella.host" . }}:{{ add .root.Values.portBase $component.grpc }}
{{- end -}}

{{- define "corella.priorityClass" -}}
{{- if .root.Values.priorityClasses.create -}}
{{ .root.Release.Namespace }}-{{ include "corella.object" (dict "root" .root "name" .priority) }}
{{- else -}}
{{ get .root.Values.priorityClasses .priority }}
{{- end -}}
{{- end -}}

{{/* The Secret with a component's certificate. */}}
{{- define "corella.tlsSecret" -}}
{{- if eq .root.Values.tls.mode "certManager" -}}
{{ include "corella.object" . }}-tls
{{- else -}}
{{ get .root.Values.tls.existingSecrets .name }}
{{- end -}}
{{- end -}}
