package tlsconf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/mesita/mesita/api/backoff"
)

const (
	renewTimeout  = 30 * time.Second
	minRenewRetry = time.Second
	maxRenewRetry = 5 * time.Minute
	// A node that is shut out asks more often than one whose certificate is
	// merely due.
	maxShutOutRetry = 10 * time.Second
	// A timer does not see the wall clock being set, so look again this often.
	clockCheck = 10 * time.Minute
	// refusalPause is at first between two renewals for others that refuse this
	// node.
	refusalPause = 10 * time.Second
)

// Rotator renews a holder's certificate at half its life, while connections
// and listeners continue; and when others refuse the node, whatever the reason:
// its clock may be wrong, or the answer is why.
type Rotator struct {
	Holder *Holder
	// Renew has a certificate request (DER) signed and returns the certificate
	// (PEM). It is given 30 s. With refused, only another node's answer counts.
	// After ErrRemoved it is not asked again.
	Renew func(ctx context.Context, csrDER []byte, refused bool) (certPEM []byte, err error)
	// Save keeps the new certificate for the next start.
	Save func(certPEM []byte) error
	Log  *slog.Logger
}

// Run renews until ctx is done, and then returns nil. A renewal that fails is
// tried again after 1 s, then after ever longer, up to 5 minutes.
func (r *Rotator) Run(ctx context.Context) error {
	due := r.due(0)
	asked := backoff.New(refusalPause, maxRenewRetry)
	retry, shutOut := backoff.New(minRenewRetry, maxRenewRetry), backoff.New(minRenewRetry, maxShutOutRetry)
	for {
		refused := false
		if wait := due.Sub(r.Holder.now()); wait > 0 {
			var outdated, ok bool
			if refused, outdated, ok = r.await(ctx, min(wait, clockCheck)); !ok {
				return nil
			}
			if outdated {
				due = r.Holder.now() // until it is done
			}
			if !refused {
				asked.Reset()
				continue
			}
		}
		err := r.renew(ctx, refused)
		if errors.Is(err, ErrRemoved) {
			<-ctx.Done()
		}
		if ctx.Err() != nil {
			return nil
		}
		var pause time.Duration
		switch {
		case err == nil:
			retry.Reset()
			shutOut.Reset()
			due = r.due(r.life() / 10)
			r.Log.Info("node certificate renewed", "until", r.Holder.Leaf().NotAfter, "next", due)
			if !refused {
				continue
			}
			pause = asked.Next()
		case refused:
			pause = asked.Next()
			r.Log.Debug("another node refuses this one, and none told why", "error", err)
		default:
			pause = retry.Next()
			if !r.Holder.Expired().IsZero() {
				pause = shutOut.Next()
			}
			r.Log.Warn("node certificate not renewed", "error", err, "expires", r.Holder.Leaf().NotAfter, "retry", pause)
		}
		if !backoff.Pause(ctx, pause) {
			return nil
		}
	}
}

// await waits, and reports whether another node refused this one meanwhile, or
// another key signs now; ok is false once ctx is done.
func (r *Rotator) await(ctx context.Context, d time.Duration) (refused, outdated, ok bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, false, false
	case <-r.Holder.refused:
		return true, false, true
	case <-r.Holder.outdated:
		return false, true, true
	case <-timer.C:
		return false, false, true
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

func (r *Rotator) renew(ctx context.Context, refused bool) error {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	csr, err := r.Holder.key.CSR()
	if err != nil {
		return err
	}
	certPEM, err := r.Renew(ctx, csr, refused)
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	old := r.Holder.Leaf().NotAfter
	signs := r.Holder.trusts.Load().cas[:1]
	again := signed(r.Holder.Leaf(), newTrust(signs).pool)
	certs, err := parseCerts(certPEM)
	if err == nil && !again && !signed(certs[0], newTrust(signs).pool) {
		return errors.New("renew certificate: the new one is of a key that signs no more: the signer has not heard of that yet")
	}
	if err == nil && again && certs[0].NotAfter.Before(old) {
		return fmt.Errorf("renew certificate: the new one is good until %s, and this one until %s: the signer's clock is behind",
			certs[0].NotAfter.Format(time.RFC3339), old.Format(time.RFC3339))
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
