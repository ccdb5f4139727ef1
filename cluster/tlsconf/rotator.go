package tlsconf

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/mesita/mesita/backoff"
)

const (
	renewTimeout  = 30 * time.Second
	minRenewRetry = time.Second
	maxRenewRetry = 5 * time.Minute
	// A timer does not see the wall clock being set, so look again this often.
	clockCheck = 10 * time.Minute
)

// Rotator renews a holder's certificate at half its life, while connections
// and listeners go on.
type Rotator struct {
	Holder *Holder
	// Renew has a certificate request (DER) signed and returns the certificate
	// (PEM). It is given 30 s.
	Renew func(ctx context.Context, csrDER []byte) (certPEM []byte, err error)
	// Save keeps the new certificate for the next start.
	Save func(certPEM []byte) error
	Log  *slog.Logger
}

// Run renews until ctx is done, and then returns nil. A renewal that fails is
// tried again after 1 s, then after ever longer, up to 5 minutes.
func (r *Rotator) Run(ctx context.Context) error {
	due := r.due(0)
	retry := backoff.New(minRenewRetry, maxRenewRetry)
	for {
		wait := due.Sub(r.Holder.now())
		if wait > 0 {
			if !backoff.Pause(ctx, min(wait, clockCheck)) {
				return nil
			}
			continue
		}
		err := r.renew(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			retry.Reset()
			due = r.due(r.life() / 10)
			r.Log.Info("node certificate renewed", "until", r.Holder.Leaf().NotAfter, "next", due)
			continue
		}
		pause := retry.Next()
		r.Log.Warn("node certificate not renewed", "error", err, "expires", r.Holder.Leaf().NotAfter, "retry", pause)
		if !backoff.Pause(ctx, pause) {
			return nil
		}
	}
}

// due is when to renew: at half life, spread a little so that nodes that
// joined together do not come back together, and not before atLeast from now
// even if the signer's clock is far from ours.
func (r *Rotator) due(atLeast time.Duration) time.Time {
	life := r.life()
	due := r.Holder.Leaf().NotBefore.Add(life/2 + time.Duration(rand.Float64()*0.05*float64(life)))
	if first := r.Holder.now().Add(atLeast); due.Before(first) {
		return first
	}
	return due
}

func (r *Rotator) life() time.Duration {
	leaf := r.Holder.Leaf()
	return leaf.NotAfter.Sub(leaf.NotBefore)
}

func (r *Rotator) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	csr, err := r.Holder.key.CSR()
	if err != nil {
		return err
	}
	certPEM, err := r.Renew(ctx, csr)
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	if err := r.Holder.Swap(certPEM); err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	// It is in use already; a disk that is full now must not end a good renewal.
	if err := r.Save(certPEM); err != nil {
		r.Log.Error("new node certificate is in use but not saved", "error", err)
	}
	return nil
}
