{{/* The labels of one program of the platform, and what selects its pods. */}}
{{- define "wisp.labels" -}}
{app.kubernetes.io/name: {{ . }}, app.kubernetes.io/part-of: wisp}
{{- end }}
