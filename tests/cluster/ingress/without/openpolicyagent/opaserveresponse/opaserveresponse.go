// Package opaserveresponse has nothing, as there is no registry for its filters.
package opaserveresponse

import (
	"github.com/zalando/skipper/filters"
	"github.com/zalando/skipper/filters/openpolicyagent"
)

func NewOpaServeResponseSpec(*openpolicyagent.OpenPolicyAgentRegistry) filters.Spec { return nil }
func NewOpaServeResponseWithReqBodySpec(*openpolicyagent.OpenPolicyAgentRegistry) filters.Spec {
	return nil
}
