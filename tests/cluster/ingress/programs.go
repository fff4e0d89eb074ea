//go:build programs

// Package programs names the ingress controllers, so that go.mod and go.sum cover them.
package programs

import (
	_ "github.com/traefik/traefik/v3/cmd/traefik"
	_ "github.com/zalando/skipper/cmd/skipper"
)
