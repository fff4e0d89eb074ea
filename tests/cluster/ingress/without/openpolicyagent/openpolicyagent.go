// Package openpolicyagent stands in for the package of the same name in Skipper, which brings an engine for policies with
// databases and clients of clouds: twice as much to build as all the rest. Skipper asks for it only when it is given
// -enable-open-policy-agent.
package openpolicyagent

import (
	"errors"
	"time"

	"github.com/zalando/skipper/routing"
)

// What the flags have when they are not given.
const (
	DefaultCleanIdlePeriod       = 10 * time.Second
	DefaultControlLoopInterval   = 60 * time.Second
	DefaultControlLoopMaxJitter  = 1000 * time.Millisecond
	DefaultOpaStartupTimeout     = 30 * time.Second
	DefaultMaxRequestBodySize    = 1 << 20
	DefaultMaxMemoryBodyParsing  = 100 * DefaultMaxRequestBodySize
	DefaultRequestBodyBufferSize = 8 * 1024
)

// OpenPolicyAgentRegistry is never made.
type OpenPolicyAgentRegistry struct{}

// OpenPolicyAgentInstanceConfig is never made.
type OpenPolicyAgentInstanceConfig struct{}

type option = func(*OpenPolicyAgentRegistry) error
type instanceOption = func(*OpenPolicyAgentInstanceConfig) error

// NewOpenPolicyAgentRegistry says that there is none.
func NewOpenPolicyAgentRegistry(...option) (*OpenPolicyAgentRegistry, error) {
	return nil, errors.New("this Skipper is built without Open Policy Agent")
}

func (*OpenPolicyAgentRegistry) Close()                                      {}
func (*OpenPolicyAgentRegistry) Do(routes []*routing.Route) []*routing.Route { return routes }
func (*OpenPolicyAgentRegistry) NewPreProcessor() routing.PreProcessor       { return nil }

func WithMaxRequestBodyBytes(int64) option                       { return nil }
func WithMaxMemoryBodyParsing(int64) option                      { return nil }
func WithReadBodyBufferSize(int64) option                        { return nil }
func WithCleanInterval(time.Duration) option                     { return nil }
func WithInstanceStartupTimeout(time.Duration) option            { return nil }
func WithTracer(any) option                                      { return nil }
func WithEnableCustomControlLoop(bool) option                    { return nil }
func WithEnablePrintTracing(bool) option                         { return nil }
func WithControlLoopInterval(time.Duration) option               { return nil }
func WithControlLoopMaxJitter(time.Duration) option              { return nil }
func WithEnableDataPreProcessingOptimization(bool) option        { return nil }
func WithPreloadingEnabled(bool) option                          { return nil }
func WithAsyncDecisionLogging(bool) option                       { return nil }
func WithPrometheusRegisterer(any) option                        { return nil }
func WithOpenPolicyAgentInstanceConfig(...instanceOption) option { return nil }
func WithConfigTemplateFile(string) instanceOption               { return nil }
func WithEnvoyMetadataFile(string) instanceOption                { return nil }
