// Package opaauthorizerequest has nothing, as there is no registry for its filters.
package opaauthorizerequest

import (
	"github.com/zalando/skipper/filters"
	"github.com/zalando/skipper/filters/openpolicyagent"
)

func NewOpaAuthorizeRequestSpec(*openpolicyagent.OpenPolicyAgentRegistry) filters.Spec { return nil }
func NewOpaAuthorizeRequestWithBodySpec(*openpolicyagent.OpenPolicyAgentRegistry) filters.Spec {
	return nil
}
