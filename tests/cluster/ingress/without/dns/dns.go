// Package dns stands in for the package of the same name in lego, Traefik's client of certificate authorities: there it
// is the clients of two hundred DNS services, which take ten minutes to build. Traefik asks it only when it shall prove
// to an authority, by DNS, that it owns a name.
package dns

import (
	"fmt"

	"github.com/go-acme/lego/v4/challenge"
)

// NewDNSChallengeProviderByName refuses every name.
func NewDNSChallengeProviderByName(name string) (challenge.Provider, error) {
	return nil, fmt.Errorf("this Traefik is built without DNS providers, so also without %q", name)
}
