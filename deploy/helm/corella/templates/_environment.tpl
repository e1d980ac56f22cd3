{{/*
The environment of a component: (dict "root" $ "name" NAME "component" ITS LINE OF corella.components). What comes from a Secret or from
the pod itself stands first, since Kubernetes lets a variable use those before it only.
*/}}
{{- define "corella.environment" -}}
{{- $values := .root.Values -}}
{{- $component := .component -}}
{{- $prefix := printf "CORELLA_%s_" $component.prefix -}}
{{- include "corella.referencedEnvironment" (merge (dict "prefix" $prefix) .) }}
{{- $plain := include "corella.plainEnvironment" (merge (dict "prefix" $prefix) .) | fromYaml }}
{{- with get $plain "Error" }}{{ fail . }}{{ end }}
{{- range $key, $value := get (get $values $component.settings) "settings" }}
{{- $name := printf "%s%s" $prefix ($key | replace "." "__" | upper) }}
{{- $_ := set $plain $name (include "corella.written" $value) }}
{{- end }}
{{- range $name, $value := $plain }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- with (get $values $component.values).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A value as a variable holds it: lists and maps as JSON, whole numbers without an exponent. */}}
{{- define "corella.written" -}}
{{- if or (kindIs "slice" .) (kindIs "map" .) -}}{{ toJson . }}
{{- else if and (kindIs "float64" .) (eq . (floor .)) -}}{{ printf "%.0f" . }}
{{- else -}}{{ . }}
{{- end -}}
{{- end -}}

{{- define "corella.referencedEnvironment" -}}
{{- $values := .root.Values -}}
{{- $secret := $values.secrets.existingSecret -}}
{{- if .component.redis }}
{{- if $values.valkey.enabled }}
- name: REDIS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: redis-password}}
- name: {{ .prefix }}REDIS_URL
  value: redis://:$(REDIS_PASSWORD)@{{ include "corella.host" (dict "root" .root "name" "valkey") }}:{{ add $values.portBase 11 }}/0
{{- else }}
- name: {{ .prefix }}REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: redis-url}}
{{- end }}
{{- end }}
{{- $cores := printf "{resourceFieldRef: {containerName: %s, resource: limits.cpu, divisor: \"1\"}}" .name }}
{{- if and (eq .name "embedder") (not $values.embedder.gpu.enabled) }}
# A process sees all cores of its node, not those it may use.
- name: CORELLA_EMBEDDER_COMPUTE__THREADS
  valueFrom: {{ $cores }}
{{- else if and (eq .name "generator") (not $values.generator.gpu.enabled) }}
- name: OMP_NUM_THREADS
  valueFrom: {{ $cores }}
{{- else if and (eq .name "trainer-worker") (not $values.ray.enabled) }}
- name: CORELLA_TRAINER_RAY__LOCAL_CPUS
  valueFrom: {{ $cores }}
{{- end }}
{{- end -}}

{{/* A map of name to value, as YAML. */}}
{{- define "corella.plainEnvironment" -}}
{{- $values := .root.Values -}}
{{- $component := .component -}}
{{- $prefix := .prefix -}}
{{- $secrets := "/etc/corella/secrets" -}}
{{- $encrypted := ne $values.tls.mode "none" -}}
{{/* Libraries that keep something in the home folder get one that goes with the pod. Nothing is looked up or reported elsewhere. */}}
HOME: /tmp
PYTHONUNBUFFERED: "1"
HF_HUB_OFFLINE: "1"
TRANSFORMERS_OFFLINE: "1"
HF_HUB_DISABLE_TELEMETRY: "1"
VLLM_NO_USAGE_STATS: "1"
DO_NOT_TRACK: "1"
TOKENIZERS_PARALLELISM: "false"
{{ $prefix }}TELEMETRY__METRICS_HOST: {{ $values.listenHost | quote }}
{{ $prefix }}TELEMETRY__METRICS_PORT: {{ add $values.portBase $component.metrics }}
{{ $prefix }}TELEMETRY__OTLP_ENDPOINT: {{ $values.telemetry.otlpEndpoint | quote }}
{{ $prefix }}TELEMETRY__SAMPLE_RATIO: {{ $values.telemetry.sampleRatio }}
{{ $prefix }}TELEMETRY__SLOW_SECONDS: {{ $values.telemetry.slowSeconds }}
{{ $prefix }}TELEMETRY__LOG_LEVEL: {{ $values.telemetry.logLevel }}
{{ $prefix }}TELEMETRY__CAPTURE_TEXT: {{ $values.telemetry.captureText }}
{{- with $component.grpc }}
{{ $prefix }}SERVER__HOST: {{ $values.listenHost | quote }}
{{ $prefix }}SERVER__PORT: {{ add $values.portBase . }}
{{ $prefix }}SERVER__HEALTH_PORT: {{ add $values.portBase $component.health }}
{{ $prefix }}SERVER__DRAIN_DELAY_SECONDS: {{ (get $values $component.values).drainDelaySeconds }}
{{ $prefix }}SERVER__DRAIN_SECONDS: {{ (get $values $component.values).drainSeconds }}
{{ $prefix }}SERVER__AUTH__TOKENS_FILE: {{ $secrets }}/tokens
{{- if $encrypted }}
{{ $prefix }}SERVER__TLS__CERTIFICATE_FILE: /etc/corella/tls/tls.crt
{{ $prefix }}SERVER__TLS__KEY_FILE: /etc/corella/tls/tls.key
{{- if has $component.tls $values.tls.clientCertificatesFor }}
{{ $prefix }}SERVER__TLS__CLIENT_CA_FILE: /etc/corella/tls/ca.crt
{{- end }}
{{- end }}
{{- with $values.auth.oidc }}
{{- if .issuer }}
{{ $prefix }}SERVER__AUTH__OIDC__ISSUER: {{ .issuer | quote }}
{{ $prefix }}SERVER__AUTH__OIDC__AUDIENCE: {{ .audience | quote }}
{{- range $key, $value := .settings }}
{{ $prefix }}SERVER__AUTH__OIDC__{{ upper $key }}: {{ include "corella.written" $value | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $component.calls }}
{{ $prefix }}{{ upper . }}__ADDRESS: {{ include "corella.target" (dict "root" $.root "name" .) }}
{{ $prefix }}{{ upper . }}__TOKEN_FILE: {{ $secrets }}/{{ lower $component.prefix }}-token
{{- if $encrypted }}
{{ $prefix }}{{ upper . }}__CA_FILE: /etc/corella/tls/ca.crt
{{ $prefix }}{{ upper . }}__CERTIFICATE_FILE: /etc/corella/tls/tls.crt
{{ $prefix }}{{ upper . }}__KEY_FILE: /etc/corella/tls/tls.key
{{- end }}
{{- end }}
{{- if $component.milvus }}
{{ $prefix }}MILVUS_URI: {{ include "corella.milvusUri" .root | quote }}
{{- if include "corella.milvusToken" .root }}
{{ $prefix }}MILVUS_TOKEN_FILE: {{ $secrets }}/milvus-token
{{- end }}
{{- end }}
{{- if has "blobs" $component.volumes }}
{{ $prefix }}BLOB_URL: {{ $values.storage.blobs.url | default "file:///var/lib/corella/blobs" | quote }}
{{- end }}
{{- if has "sources" $component.volumes }}
{{- if $values.sources.directories }}
{{ $prefix }}IMPORT_ROOTS: {{ include "corella.importRoots" $.root | quote }}
{{- end }}
{{- if $values.sources.existingSecret }}
{{ $prefix }}SECRETS_FOLDER: /etc/corella/source-secrets
{{- end }}
{{- with $values.sources.web.allowedHosts }}
{{ $prefix }}FETCH__ALLOWED_HOSTS: {{ toJson . | quote }}
{{- end }}
{{- end }}
{{- $own := printf "corella.environmentOf.%s" (lower $component.prefix) }}
{{ include $own . }}
{{- end -}}

{{- define "corella.importRoots" -}}
{{- $paths := list -}}
{{- range .Values.sources.directories }}{{ $paths = append $paths (printf "/srv/sources/%s" .name) }}{{ end -}}
{{ toJson $paths }}
{{- end -}}

{{- define "corella.environmentOf.embedder" -}}
{{- $values := .root.Values -}}
CORELLA_EMBEDDER_MODEL__FOLDER: /models/{{ $values.models.embedding.name }}
{{- with $values.models.reranking.name }}
CORELLA_EMBEDDER_RERANKER__FOLDER: /models/{{ . }}
{{- end }}
CORELLA_EMBEDDER_COMPUTE__DEVICE: {{ ternary "cuda" "cpu" $values.embedder.gpu.enabled }}
{{- end -}}

{{- define "corella.environmentOf.retriever" -}}
OMP_NUM_THREADS: "1"
{{- end -}}

{{- define "corella.environmentOf.generator" -}}
{{- $generator := .root.Values.generator -}}
CORELLA_GENERATOR_STATE_FOLDER: /var/lib/corella/state
CORELLA_GENERATOR_MEMORY__TOKEN_KEYS_FILE: /etc/corella/secrets/conversation-keys
{{- if $generator.openai.baseUrl }}
CORELLA_GENERATOR_ENGINE__KIND: openai
CORELLA_GENERATOR_OPENAI__BASE_URL: {{ $generator.openai.baseUrl | quote }}
CORELLA_GENERATOR_OPENAI__MODEL: {{ $generator.openai.model | quote }}
{{- with $generator.openai.apiKeySecretKey }}
CORELLA_GENERATOR_OPENAI__API_KEY_FILE: /etc/corella/secrets/{{ . }}
{{- end }}
{{- else }}
CORELLA_GENERATOR_VLLM__MODEL_FOLDER: /models/{{ .root.Values.models.generation.name }}
{{- if $generator.gpu.enabled }}
{{/* Empty, which only JSON can say: the share of the GPU's memory decides. */}}
CORELLA_GENERATOR_VLLM: '{"kv_cache_gib": null}'
CORELLA_GENERATOR_VLLM__TENSOR_PARALLEL_SIZE: {{ $generator.gpu.count }}
CORELLA_GENERATOR_VLLM__EAGER: "false"
{{- else }}
{{/* vLLM would bind its threads to cores of the node that other pods use as well. */}}
VLLM_CPU_OMP_THREADS_BIND: nobind
{{- end }}
CORELLA_GENERATOR_VLLM__LORA: {{ $generator.lora.enabled }}
{{- if $generator.lora.enabled }}
CORELLA_GENERATOR_VLLM__MAX_LORA_RANK: {{ $generator.lora.maxRank }}
CORELLA_GENERATOR_ADAPTERS__SHELF_URL: {{ include "corella.shelfUrl" .root | quote }}
CORELLA_GENERATOR_ADAPTERS__CACHE_FOLDER: /var/lib/corella/state/adapters
CORELLA_GENERATOR_ADAPTERS__MAX_CANDIDATES: {{ $generator.lora.maxCandidates }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "corella.environmentOf.trainer" -}}
{{- $values := .root.Values -}}
{{- if has "shelf" .component.volumes }}
CORELLA_TRAINER_SHELF_URL: {{ include "corella.shelfUrl" .root | quote }}
{{- end }}
{{- if .component.models }}
CORELLA_TRAINER_BASE_MODEL_FOLDER: /models/{{ $values.models.generation.name }}
{{- end }}
{{- if eq .name "trainer-worker" }}
{{- if $values.ray.enabled }}
CORELLA_TRAINER_RAY__ADDRESS: ray://{{ include "corella.host" (dict "root" .root "name" "ray-head") }}:10001
RAY_AUTH_MODE: token
RAY_AUTH_TOKEN_PATH: /etc/corella/secrets/ray-token
{{- else if $values.ray.address }}
CORELLA_TRAINER_RAY__ADDRESS: {{ $values.ray.address | quote }}
{{- end }}
{{- with $values.training.teacherUrls }}
CORELLA_TRAINER_TEACHER__ALLOWED_URLS: {{ toJson . | quote }}
{{- end }}
{{- with $values.training.teacherKeySecretKey }}
CORELLA_TRAINER_TEACHER__API_KEY_FILE: /etc/corella/secrets/{{ . }}
{{- end }}
{{- else if $values.training.teacherUrls }}
CORELLA_TRAINER_TEACHER__ALLOWED_URLS: {{ toJson $values.training.teacherUrls | quote }}
{{- end }}
{{- end -}}

{{- define "corella.shelfUrl" -}}
{{ .Values.storage.shelf.url | default "file:///var/lib/corella/shelf" }}
{{- end -}}

{{- define "corella.milvusUri" -}}
{{- $host := include "corella.host" (dict "root" . "name" "milvus") -}}
{{- if eq .Values.milvus.mode "lite" -}}http://{{ $host }}:{{ add .Values.portBase 10 }}
{{- else if eq .Values.milvus.mode "standalone" -}}http://{{ $host }}:19530
{{- else -}}{{ required "milvus.mode is external: set milvus.uri" .Values.milvus.uri }}
{{- end -}}
{{- end -}}

{{/* "true" where Milvus asks who calls; Milvus Lite cannot. */}}
{{- define "corella.milvusToken" -}}
{{- if or (eq .Values.milvus.mode "standalone") (and (eq .Values.milvus.mode "external") .Values.milvus.authentication) -}}true{{- end -}}
{{- end -}}
