{{- /* Names and labels that all objects share. */ -}}

{{- define "keda-sift.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* Short enough for the longest ending, -service-account-tokens. */ -}}
{{- define "keda-sift.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "keda-sift.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "keda-sift.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "keda-sift.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "keda-sift.fullname" .) }}
{{- end }}

{{- define "keda-sift.selectorLabels" -}}
app.kubernetes.io/name: {{ include "keda-sift.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "keda-sift.labels" -}}
{{ include "keda-sift.selectorLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "keda-sift.tlsSecret" -}}
{{- .Values.tls.existingSecret | default (printf "%s-tls" (include "keda-sift.fullname" .)) }}
{{- end }}

{{- /* The features that are on and grant rights, each with its rules. */ -}}
{{- define "keda-sift.rights" -}}
{{- if .Values.warmUp.enabled }}
warm-up:
  - apiGroups: [keda.sh]
    resources: [scaledjobs, scaledobjects]
    verbs: [list, watch]
{{- end }}
{{- if .Values.events.enabled }}
events:
  - apiGroups: [""]
    resources: [events]
    verbs: [create, patch]
{{- end }}
{{- if .Values.serviceAccountTokens.enabled }}
service-account-tokens:
  - apiGroups: [""]
    resources: [serviceaccounts]
    verbs: [get]
  - apiGroups: [""]
    resources: [serviceaccounts/token]
    verbs: [create]
{{- end }}
{{- if .Values.triggerAuthentications.enabled }}
trigger-authentications:
  - apiGroups: [keda.sh]
    resources: [triggerauthentications, scaledjobs]
    verbs: [get]
  - apiGroups: [""]
    resources: [secrets, configmaps]
    verbs: [get]
{{- end }}
{{- end }}

{{- /* Values that must not be combined. */ -}}
{{- define "keda-sift.check" -}}
{{- if and .Values.events.enabled (not .Values.warmUp.enabled) }}
{{- fail "events.enabled needs warmUp.enabled, which finds the ScaledJobs that Events are for" }}
{{- end }}
{{- if and .Values.singleNamespace .Values.watchNamespaces }}
{{- fail "singleNamespace and watchNamespaces are given; give one of them" }}
{{- end }}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) }}
{{- fail "serviceAccount.create is false; give serviceAccount.name" }}
{{- end }}
{{- end }}
