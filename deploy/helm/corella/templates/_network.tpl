{{/* Which lines of files/allow-list.yaml hold for this release. */}}

{{/* Conditions, true or false by name. */}}
{{- define "corella.conditions" -}}
{{- $values := .Values -}}
{{- $ray := and $values.training.enabled $values.ray.enabled -}}
otlp: {{ not (empty $values.telemetry.otlpEndpoint) }}
kubeRay: {{ and $ray (include "corella.kubeRay" . | empty | not) }}
milvusStandalone: {{ eq $values.milvus.mode "standalone" }}
externalRedis: {{ not $values.valkey.enabled }}
externalMilvus: {{ eq $values.milvus.mode "external" }}
externalRay: {{ and $values.training.enabled (not $values.ray.enabled) (not (empty $values.ray.address)) }}
blobsElsewhere: {{ not (empty $values.storage.blobs.url) }}
shelfElsewhere: {{ not (empty $values.storage.shelf.url) }}
embeddingModelElsewhere: {{ or (include "corella.elsewhere" $values.models.embedding.source) (include "corella.elsewhere" $values.models.reranking.source) | empty | not }}
generationModelElsewhere: {{ include "corella.elsewhere" $values.models.generation.source | empty | not }}
oidc: {{ not (empty $values.auth.oidc.issuer) }}
webSources: {{ $values.sources.web.enabled }}
openai: {{ not (empty $values.generator.openai.baseUrl) }}
teachers: {{ and $values.training.enabled (not (empty $values.training.teacherUrls)) }}
{{- end -}}

{{- define "corella.elsewhere" -}}
{{- if or (hasPrefix "hf:" .) (contains "://" .) -}}true{{- end -}}
{{- end -}}

{{/* Components that have pods, with the numbers of their ports by name. */}}
{{- define "corella.podPorts" -}}
{{- $base := .Values.portBase -}}
{{- range $name, $component := include "corella.components" . | fromYaml }}
{{ $name }}: {metrics: {{ add $base $component.metrics }}{{ with $component.grpc }}, grpc: {{ add $base . }}{{ end }}}
{{- end }}
{{- if .Values.valkey.enabled }}
valkey: {redis: {{ add $base 11 }}}
{{- end }}
{{- if eq .Values.milvus.mode "lite" }}
milvus: {milvus: {{ add $base 10 }}}
{{- else if eq .Values.milvus.mode "standalone" }}
milvus: {milvus: 19530, metrics: 9091}
{{- end }}
{{- if and .Values.training.enabled .Values.ray.enabled }}
ray-head: {gcs: 6379, client: 10001}
ray-worker: {}
{{- end }}
test: {}
{{- end -}}

{{/*
The lines that hold, as a list under `connections`: those whose condition is true and whose ends are part of the release or outside it.
*/}}
{{- define "corella.connections" -}}
{{- $conditions := include "corella.conditions" . | fromYaml -}}
{{- $pods := include "corella.podPorts" . | fromYaml -}}
{{- $outside := keys .Values.networkPolicy.destinations | concat (list "clients" "monitoring" "rayOperator") -}}
{{- $found := list -}}
{{- range (.Files.Get "files/allow-list.yaml" | fromYaml).connections -}}
{{- $holds := or (not .when) (get $conditions (.when | default "")) -}}
{{- if and $holds (or (hasKey $pods .from) (has .from $outside)) (or (hasKey $pods .to) (has .to $outside)) -}}
{{- $found = append $found . -}}
{{- end -}}
{{- end -}}
connections: {{ toJson $found }}
{{- end -}}
