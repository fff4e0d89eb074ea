// Those modules of ../../go.mod that are built without a part of theirs: here go.sum says what they are.
module wisp.local/cluster/ingress/originals

go 1.26.5

require (
	github.com/go-acme/lego/v4 v4.31.0
	github.com/traefik/traefik/v3 v3.6.7
	github.com/zalando/skipper v0.27.41
)
