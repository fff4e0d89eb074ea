// Package provider stands in for those of Traefik's providers that ask clouds and stores of keys, with the large clients
// of these. Each gets a copy of this with its own name.
package provider

import (
	"errors"

	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/safe"
)

// Provider refuses to be used.
type Provider struct{}

// ProviderBuilder makes one that refuses.
type ProviderBuilder struct{}

func (*ProviderBuilder) BuildProviders() []*Provider { return []*Provider{{}} }

func (*Provider) Init() error { return errors.New("this Traefik is built without it") }

func (*Provider) Provide(chan<- dynamic.Message, *safe.Pool) error { return nil }
