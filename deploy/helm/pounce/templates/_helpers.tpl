{{- define "pounce.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* The name of all objects of a release; short enough for "-node-cache" behind it. */}}
{{- define "pounce.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "pounce.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pounce.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The name differs, so that the Service does not send clients to the nodes' caches. */}}
{{- define "pounce.nodeCache.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pounce.name" . }}-node-cache
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pounce.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "pounce.labels" -}}
{{ include "pounce.selectorLabels" . }}
{{ include "pounce.commonLabels" . }}
{{- end }}

{{- define "pounce.nodeCache.labels" -}}
{{ include "pounce.nodeCache.selectorLabels" . }}
{{ include "pounce.commonLabels" . }}
{{- end }}

{{- define "pounce.serviceAccountName" -}}
{{- $name := ternary (include "pounce.fullname" .) "default" .Values.serviceAccount.create }}
{{- default $name .Values.serviceAccount.name }}
{{- end }}

{{- define "pounce.secretName" -}}
{{- default (include "pounce.fullname" .) .Values.existingSecret }}
{{- end }}

{{- define "pounce.image" -}}
{{- with .Values.image }}
{{- .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{/* What the pods of the Deployment and of the DaemonSet have in common. */}}
{{- define "pounce.pod" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
# A Service that is called registry would set REGISTRY_PORT, and others.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ add .Values.shutdown.preStopSeconds .Values.shutdown.drainSeconds 10 }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- end }}

{{/* And their containers. The entrypoint is the image's. */}}
{{- define "pounce.container" -}}
name: pounce
image: {{ include "pounce.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve]
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- if .Values.shutdown.preStopSeconds }}
lifecycle:
  preStop:
    sleep: { seconds: {{ .Values.shutdown.preStopSeconds }} }
{{- end }}
{{- end }}

{{/* And their variables: values that must fit the rest of the pod, which the file cannot change therefore. */}}
{{- define "pounce.env" -}}
- { name: REGISTRY_CONFIGURATION_PATH, value: /etc/pounce/config/registry.yml }
- { name: REGISTRY_HTTP_ADDR, value: ":5000" }
- { name: REGISTRY_HTTP_DRAINTIMEOUT, value: {{ .Values.shutdown.drainSeconds }}s }
{{- end }}

{{- define "pounce.probes" -}}
{{- range $name := list "startupProbe" "readinessProbe" "livenessProbe" }}
{{- with index $.Values $name }}
{{- $probe := deepCopy . }}
{{- /* Values of its own are merged with the default's, and a probe asks in one way only. */}}
{{- if or $probe.exec $probe.tcpSocket $probe.grpc }}
{{- $_ := unset $probe "httpGet" }}
{{- else if $.Values.tls.existingSecret }}
{{- $_ := set $probe.httpGet "scheme" "HTTPS" }}
{{- end }}
{{ $name }}:
  {{- toYaml $probe | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* DNS at any address, because a node's own cache of DNS has a link-local one; then the ports that are asked for. */}}
{{- define "pounce.egress" -}}
- ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }]
{{- with .Values.networkPolicy.egressPorts }}
- to:
    - ipBlock: { cidr: 0.0.0.0/0, except: [169.254.0.0/16] }
    # fd00:ec2::254 is AWS' metadata service.
    - ipBlock: { cidr: "::/0", except: ["fe80::/10", "fd00:ec2::/32"] }
  ports:
    {{- range . }}
    - { port: {{ . }}, protocol: TCP }
    {{- end }}
{{- end }}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* registry.yml of a ConfigMap, which every reader of the namespace's objects can read. */}}
{{- define "pounce.configuration" -}}
{{- $text := toYaml . }}
{{- $advice := "put it into the Secret, as REGISTRY_ and its path (REGISTRY_PROXY_PASSWORD)" }}
{{- with regexFind "(?mi)^[ -]*((secret|secretkey|password): *([^ \"]|\"[^\"])|authorization:).*$" $text }}
{{- fail (printf "config has `%s` in plain text: %s" (splitList ":" (trimAll " -" .) | first) $advice) }}
{{- end }}
{{- $text }}
{{- end }}
