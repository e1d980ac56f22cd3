{{/*
What each process is: the table from which Deployments, Services, NetworkPolicies and everything else that is made for each of them is
rendered. The processes, their commands and their ports are those of a local run (corella/local/stack.py).

  values      its group in values.yaml              module    what `python -m` runs
  settings    the group whose `settings` it gets    prefix    its variables begin with CORELLA_<prefix>_
  grpc, metrics, health    ports, as offsets to `portBase`
  secrets     keys of the Secret that it sees       calls     services it is a client of: name of the settings group
  tls         whose certificate it shows            models    which models it loads
  volumes     what it mounts besides                redis     whether it keeps things there; milvus likewise
*/}}
{{- define "corella.components" -}}
embedder:
  values: embedder
  settings: embedder
  image: embedder
  module: services.embedder
  prefix: EMBEDDER
  grpc: 1
  metrics: 21
  health: 31
  secrets: [tokens]
  tls: embedder
  calls: []
  models: [embedding, reranking]
  volumes: []
  redis: false
  milvus: false
  priority: serving
retriever:
  values: retriever
  settings: retriever
  image: retriever
  module: services.retriever
  prefix: RETRIEVER
  grpc: 2
  metrics: 22
  health: 32
  secrets: [tokens, retriever-token]
  tls: retriever
  calls: [embedder]
  models: []
  volumes: [blobs, sources]
  redis: true
  milvus: true
  priority: serving
worker:
  values: worker
  settings: retriever
  image: retriever
  module: services.retriever.worker
  prefix: RETRIEVER
  metrics: 25
  secrets: [retriever-token]
  tls: retriever
  calls: [embedder]
  models: []
  volumes: [blobs, sources]
  redis: true
  milvus: true
  priority: serving
retriever-beat:
  values: retrieverBeat
  settings: retriever
  image: retriever
  module: services.retriever.beat
  prefix: RETRIEVER
  metrics: 26
  secrets: []
  calls: []
  models: []
  volumes: []
  redis: true
  milvus: false
  single: true
  priority: serving
generator:
  values: generator
  settings: generator
  image: {{ ternary "generator-gpu" "generator-cpu" .Values.generator.gpu.enabled }}
  module: services.generator
  prefix: GENERATOR
  grpc: 3
  metrics: 23
  health: 33
  secrets: [tokens, generator-token, conversation-keys{{ with .Values.generator.openai.apiKeySecretKey }}, {{ . }}{{ end }}]
  tls: generator
  calls: [retriever]
  models: [{{ if not .Values.generator.openai.baseUrl }}generation{{ end }}]
  volumes: [{{ if and .Values.generator.lora.enabled (not .Values.generator.openai.baseUrl) }}shelf, {{ end }}state, shm]
  redis: true
  milvus: false
  priority: serving
{{- if .Values.training.enabled }}
trainer:
  values: trainer
  settings: trainer
  image: trainer
  module: services.trainer
  prefix: TRAINER
  grpc: 4
  metrics: 24
  health: 34
  secrets: [tokens, trainer-token]
  tls: trainer
  calls: [generator, retriever]
  models: []
  volumes: [shelf]
  redis: true
  milvus: false
  priority: serving
trainer-worker:
  values: trainerWorker
  settings: trainer
  image: trainer
  module: services.trainer.worker
  prefix: TRAINER
  metrics: 27
  secrets: [trainer-token{{ if .Values.ray.enabled }}, ray-token{{ end }}{{ with .Values.training.teacherKeySecretKey }}, {{ . }}{{ end }}]
  tls: trainer
  calls: [generator, retriever]
  models: [generation]
  volumes: [shelf, shm]
  redis: true
  milvus: false
  priority: training
trainer-beat:
  values: trainerBeat
  settings: trainer
  image: trainer
  module: services.trainer.beat
  prefix: TRAINER
  metrics: 28
  secrets: []
  calls: []
  models: []
  volumes: []
  redis: true
  milvus: false
  single: true
  priority: training
{{- end }}
{{- end -}}
