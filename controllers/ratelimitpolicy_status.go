package controllers

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/acme-ca/acme-ca-operator/api/v1alpha1"
	"github.com/acme-ca/acme-ca-operator/controllers/render"
)

// The bounds of the lists of a policy's status.
const (
	maxPolicyServers   = 100
	maxPolicyThrottled = 100
)

// policyStatusOf returns the status of a policy: a function of its spec, and of
// what the AcmeServers that refer to it say.
func policyStatusOf(policy *v1alpha1.AcmeRateLimitPolicy, servers []v1alpha1.AcmeServer, now metav1.Time) v1alpha1.AcmeRateLimitPolicyStatus {
	servers = slices.SortedFunc(slices.Values(servers), func(a, b v1alpha1.AcmeServer) int { return cmp.Compare(a.Name, b.Name) })
	status := v1alpha1.AcmeRateLimitPolicyStatus{
		ObservedGeneration: policy.Generation,
		Conditions:         slices.Clone(policy.Status.Conditions),
		ServerCount:        int32(len(servers)), //nolint:gosec // there are no two billion AcmeServers
	}
	for i := range servers {
		if len(status.Servers) < maxPolicyServers {
			status.Servers = append(status.Servers, policyServerOf(policy, &servers[i]))
		}
		limits := servers[i].Status.RateLimits
		if limits == nil || limits.Policy != policy.Name {
			continue
		}
		for _, t := range limits.Throttled {
			if len(status.Throttled) < maxPolicyThrottled {
				t.Server = servers[i].Name
				status.Throttled = append(status.Throttled, t)
			}
		}
	}
	set := func(condition string, o outcome) {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: condition, Status: o.status, Reason: o.reason, Message: bounded(o.message),
			ObservedGeneration: policy.Generation, LastTransitionTime: now,
		})
	}
	accepted := acceptance(policy)
	set(v1alpha1.ConditionAccepted, accepted)
	if accepted.status != metav1.ConditionTrue {
		set(v1alpha1.ConditionEnforced, accepted)
	} else {
		set(v1alpha1.ConditionEnforced, enforcementOf(policy, servers))
	}
	return status
}

// policyServerOf tells of one AcmeServer.
func policyServerOf(policy *v1alpha1.AcmeRateLimitPolicy, server *v1alpha1.AcmeServer) v1alpha1.PolicyServer {
	of := v1alpha1.PolicyServer{Name: server.Name}
	if limits := server.Status.RateLimits; limits != nil {
		of.Replicas = limits.Replicas
		if limits.Policy == policy.Name {
			of.Generation, of.Enforcing = limits.PolicyGeneration, limits.Enforcing
		}
	}
	return of
}

// acceptance says whether servers can enforce a policy. The API server refuses what
// they cannot, but for what only shows when it is all put together.
func acceptance(policy *v1alpha1.AcmeRateLimitPolicy) outcome {
	if _, err := render.RateLimitPolicy(&policy.Spec); err != nil {
		return outcome{metav1.ConditionFalse, v1alpha1.ReasonPolicyInvalid, "correct the spec: " + err.Error()}
	}
	return outcome{metav1.ConditionTrue, v1alpha1.ReasonAccepted, "the spec is one that servers can enforce"}
}

// enforcementOf says whether every server enforces a policy as it is now. What one
// AcmeServer has to say of why not is repeated.
func enforcementOf(policy *v1alpha1.AcmeRateLimitPolicy, servers []v1alpha1.AcmeServer) outcome {
	if len(servers) == 0 {
		return outcome{
			metav1.ConditionFalse, v1alpha1.ReasonNotReferenced,
			"no AcmeServer of this namespace refers to it: name it in spec.rateLimitPolicyRef of one",
		}
	}
	var enforcing, replicas int32
	for i := range servers {
		of, said := policyServerOf(policy, &servers[i]), enforcedCondition(&servers[i])
		if of.Generation != policy.Generation {
			of.Enforcing = 0
		}
		enforcing, replicas = enforcing+of.Enforcing, replicas+of.Replicas
		switch {
		case said != nil && said.Status != metav1.ConditionTrue && said.Reason != v1alpha1.ReasonProgressing && said.ObservedGeneration == servers[i].Generation:
			return outcome{metav1.ConditionFalse, said.Reason, fmt.Sprintf("AcmeServer %s: %s", servers[i].Name, said.Message)}
		case of.Generation != policy.Generation && of.Replicas == 0:
			replicas++ // it counts as one that does not
		}
	}
	of := "AcmeServer " + servers[0].Name
	if len(servers) > 1 {
		of = fmt.Sprintf("%d AcmeServers", len(servers))
	}
	message := fmt.Sprintf("%d of %d servers of %s enforce generation %d", enforcing, replicas, of, policy.Generation)
	if enforcing < replicas {
		return outcome{metav1.ConditionFalse, v1alpha1.ReasonProgressing, message + "; see status.servers"}
	}
	return outcome{metav1.ConditionTrue, v1alpha1.ReasonEnforced, message}
}
