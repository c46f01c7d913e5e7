package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/acme-ca/acme-ca-operator/acme/config"
	"github.com/acme-ca/acme-ca-operator/test/load/generator"
)

// replication is a bench of several replicas.
type replication struct {
	turns
	replicas int
}

// runReplicas measures one and several replicas of this server on one database, in
// turn, and prints what that costs.
func runReplicas(ctx context.Context, args []string) error {
	r := &replication{}
	flags := r.flags("bench replicas")
	flags.IntVar(&r.replicas, "replicas", 3, "how many are compared with one")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r.workers = []int{few, many}
	for _, workers := range r.workers {
		r.conditions = append(r.conditions, replicasOf(1, workers), replicasOf(r.replicas, workers))
	}
	r.compare = func(ctx context.Context, l *lab, f *findings, c *contestant, binary string) error {
		return errors.Join(r.compareReplicas(ctx, l, f, c, binary, 1), r.compareReplicas(ctx, l, f, c, binary, r.replicas))
	}
	return r.run(ctx)
}

// compareReplicas measures a number of replicas, once with each number of workers.
func (o *replication) compareReplicas(ctx context.Context, l *lab, f *findings, c *contestant, binary string, n int) error {
	mode := config.Trusted
	if c.mode == generator.HTTP01 {
		mode = config.Challenge
	}
	r := &running{lab: l, contestant: c}
	var err error
	if r.databaseURL, r.drop, err = l.postgres.NewDatabase(); err != nil {
		return err
	}
	started, err := l.startReplicas(ctx, mode, binary, r.databaseURL, n)
	if err != nil {
		return errors.Join(err, r.drop())
	}
	r.process, r.others = started[0], started[1:]
	for _, workers := range o.workers {
		s, err := r.measure(ctx, generator.Config{Workers: workers, Accounts: workers}, o.warmup, o.duration)
		if err != nil {
			return errors.Join(err, r.end())
		}
		f.add(load{contestant: c, variation: replicasOf(n, workers)}, s)
	}
	return r.end()
}

// replicasOf names a variation.
func replicasOf(replicas, workers int) string {
	if replicas == 1 {
		return fmt.Sprintf("1 replica, %d workers", workers)
	}
	return fmt.Sprintf("%d replicas, %d workers", replicas, workers)
}
