{{/* A pod of the Ray cluster: (dict "root" $ "name" "ray-head" or "ray-worker" "kubeRay" BOOL). Head and workers run the same image. */}}

{{- define "corella.rayValues" -}}
{{- eq .name "ray-head" | ternary .root.Values.ray.head .root.Values.ray.worker | toYaml }}
{{- end -}}

{{/* Bytes of Ray's object store. Nothing large goes through it: examples and checkpoints are read and written where they are kept. By itself
     Ray takes a third of the memory, and a file below /tmp instead of /dev/shm where that is smaller. */}}
{{- define "corella.rayObjectStore" -}}536870912{{- end -}}

{{- define "corella.rayPod" -}}
{{- $root := .root -}}
{{- $values := include "corella.rayValues" . | fromYaml -}}
metadata:
  labels: {{- include "corella.labels" . | nindent 4 }}
  annotations:
    kubectl.kubernetes.io/default-container: {{ .name }}
spec:
  {{- include "corella.podStart" (dict "root" $root "priority" "training") | nindent 2 }}
  terminationGracePeriodSeconds: {{ $values.graceSeconds }}
  {{- with include "corella.placement" (dict "root" $root "name" .name "values" $values) }}{{ . | nindent 2 }}{{ end }}
  {{- with include "corella.modelContainer" (dict "root" $root "models" (list "generation")) }}
  initContainers: {{- . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .name }}
      image: {{ include "corella.image" (dict "root" $root "image" "ray-node") }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      {{- if not .kubeRay }}
      {{- if eq .name "ray-head" }}
      command: [ray, start, --head, --block, --port=6379, --ray-client-server-port=10001, --dashboard-host=127.0.0.1, --num-cpus=0, {{ printf "--object-store-memory=%s" (include "corella.rayObjectStore" .) }}, --disable-usage-stats]
      {{- else }}
      command:
        - sh
        - -c
        - exec ray start --block --address={{ include "corella.host" (dict "root" $root "name" "ray-head") }}:6379 --num-cpus="$RAY_CPUS"{{ if $values.gpu.enabled }} --num-gpus={{ $values.gpu.count }}{{ end }} --object-store-memory={{ include "corella.rayObjectStore" . }} --disable-usage-stats
      {{- end }}
      {{- end }}
      env:
        - {name: HOME, value: /tmp}
        - {name: PYTHONUNBUFFERED, value: "1"}
        - {name: RAY_USAGE_STATS_ENABLED, value: "0"}
        - {name: HF_HUB_OFFLINE, value: "1"}
        # Whoever reaches a Ray cluster can run programs on it: it asks for a token besides what the network allows.
        - {name: RAY_AUTH_MODE, value: token}
        - {name: RAY_AUTH_TOKEN_PATH, value: /etc/corella/secrets/ray-token}
        - name: RAY_CPUS
          valueFrom: {resourceFieldRef: {containerName: {{ .name }}, resource: limits.cpu, divisor: "1"}}
      {{- with $root.Values.storage.credentialsSecret }}
      envFrom:
        - secretRef: {name: {{ . }}}
      {{- end }}
      # Said here also where KubeRay makes the pods: its own probes ask with a program the image does not have.
      {{- if eq .name "ray-head" }}
      ports:
        - {name: gcs, containerPort: 6379}
        - {name: client, containerPort: 10001}
      startupProbe: {tcpSocket: {port: client}, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 24}
      readinessProbe: {tcpSocket: {port: client}, periodSeconds: 10, timeoutSeconds: 5}
      livenessProbe: {tcpSocket: {port: gcs}, periodSeconds: 20, timeoutSeconds: 10, failureThreshold: 6}
      {{- else }}
      # Its socket is there. `ray start --block` ends by itself with the first of its processes that ends, and with the head.
      {{- $check := "exec: {command: [sh, -c, 'ls /tmp/ray/session_latest/sockets | grep -q raylet']}" }}
      startupProbe:
        {{ $check }}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 24
      readinessProbe:
        {{ $check }}
        periodSeconds: 15
        timeoutSeconds: 5
      livenessProbe:
        {{ $check }}
        periodSeconds: 30
        timeoutSeconds: 10
        failureThreshold: 3
      {{- end }}
      resources: {{- include "corella.resources" $values | nindent 8 }}
      securityContext: {{- include "corella.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        - {name: shm, mountPath: /dev/shm}
        - {name: secrets, mountPath: /etc/corella/secrets, readOnly: true}
        - {name: models, mountPath: /models, readOnly: true}
        {{- if not $root.Values.storage.shelf.url }}
        - {name: shelf, mountPath: /var/lib/corella/shelf}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: {{ $values.tmpSize }}}
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: {{ $values.sharedMemorySize }}}
    - name: secrets
      secret:
        secretName: {{ $root.Values.secrets.existingSecret }}
        defaultMode: 0440
        items:
          - {key: ray-token, path: ray-token}
    - name: models
      {{- include "corella.modelVolume" $root | nindent 6 }}
    {{- if not $root.Values.storage.shelf.url }}
    - name: shelf
      {{- include "corella.storageVolume" (dict "root" $root "name" "shelf") | nindent 6 }}
    {{- end }}
{{- end -}}

{{/* "true" where KubeRay's operator makes the pods. */}}
{{- define "corella.kubeRay" -}}
{{- $mode := .Values.ray.kubeRay -}}
{{- if or (eq $mode "always") (and (eq $mode "auto") (.Capabilities.APIVersions.Has "ray.io/v1")) -}}true{{- end -}}
{{- end -}}
