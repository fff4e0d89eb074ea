//go:build programs

// Package programs names a registry and the standard tool to fill one, so that go.mod and go.sum cover them.
package programs

import (
	_ "github.com/distribution/distribution/v3/cmd/registry"
	_ "oras.land/oras/cmd/oras"
)
