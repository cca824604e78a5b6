package issuer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
)

// unreachable is the fault of a request that has no answer, in our own words:
// those of the network may hold what it met. What the network does goes away by
// itself; a certificate that is not trusted does not.
func unreachable(err error, b bounds) *agent.Fault { return unreachableAt(time.Now(), err, b) }

// unreachableAt is unreachable for a certificate that was verified at the time now.
func unreachableAt(now time.Time, err error, b bounds) *agent.Fault {
	if f, ok := errors.AsType[*agent.Fault](err); ok {
		return f
	}
	if f := untrusted(now, err); f != nil {
		return f
	}
	if f := lost(err); f != nil {
		return f
	}
	return timedOut(err, b)
}

// untrusted is the fault of a certificate; nil where it is something else. One
// that is not valid yet will be, by the clock alone.
func untrusted(now time.Time, err error) *agent.Fault {
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return misconfigured("its certificate is for another name than %s; check the address", host.Printable(e.Host, "", '?'))
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return misconfigured("its certificate is signed by an authority that is not trusted here; name the certificate of that authority in ca_file, or add it to the system's")
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return invalid(now, e)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return misconfigured("its certificate cannot be verified; see it with: openssl s_client -connect HOST:PORT")
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "remote error" {
		return alerted(e.Err.Error())
	}
	return nil
}

func invalid(now time.Time, e x509.CertificateInvalidError) *agent.Fault {
	const day = "2006-01-02 15:04 MST"
	switch {
	case e.Reason != x509.Expired:
		return misconfigured("its certificate, or one that signed it, may not be used for this; the issuer must replace it")
	case e.Cert != nil && now.Before(e.Cert.NotBefore):
		return transient("its certificate, or one that signed it, is not valid before %s; check this host's clock", e.Cert.NotBefore.UTC().Format(day))
	case e.Cert != nil:
		return misconfigured("its certificate, or one that signed it, expired at %s; the issuer must renew it, if this host's clock is right", e.Cert.NotAfter.UTC().Format(day))
	}
	return misconfigured("its certificate has expired; the issuer must renew it")
}

// alerted is the fault of a server that has ended the handshake, in the words of
// crypto/tls, which names the alert.
func alerted(alert string) *agent.Fault {
	if strings.Contains(alert, "certificate") {
		return misconfigured("it refused the client's certificate (%s); check client_cert_file and client_auth", alert)
	}
	return transient("it ended the TLS handshake (%s); it must speak TLS 1.2 or 1.3", alert)
}

// lost is the fault of a connection that could not be made or did not last; nil
// where it is something else.
func lost(err error) *agent.Fault {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return unnamed(e, throughProxy(err))
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return transient("it does not speak TLS there; check the port")
	}
	to := placeOf(err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return transient("connection refused%s; see whether it is up, and the port is right", to)
	case errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH):
		return transient("no way there%s; check this host's network", to)
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return transient("the connection ended before the answer was complete%s", to)
	}
	return nil
}

// unnamed is the fault of a host whose address DNS did not tell.
func unnamed(e *net.DNSError, proxy bool) *agent.Fault {
	address := "the address"
	if proxy {
		address = "https_proxy, which names it"
	}
	if e.IsNotFound {
		return transient("DNS knows no host %s; check %s, and this host's resolver", host.Printable(e.Name, "", '?'), address)
	}
	return transient("DNS did not tell the address of %s; check this host's resolver", host.Printable(e.Name, "", '?'))
}

// throughProxy reports whether the connection was to be one to a proxy.
func throughProxy(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "proxyconnect"
}

// placeOf is where a connection was to lead, and through what.
func placeOf(err error) string {
	e, ok := errors.AsType[*net.OpError](err)
	switch {
	case throughProxy(err):
		return " at the proxy that https_proxy names"
	case !ok || e.Addr == nil:
		return ""
	}
	return " at " + e.Addr.String()
}

// timedOut is the fault of all else: mostly, that it took too long.
func timedOut(err error, b bounds) *agent.Fault {
	text := err.Error()
	wait, isTimeout := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		return &agent.Fault{Kind: agent.Transient, Err: context.Canceled}
	case strings.Contains(text, "TLS handshake timeout"):
		return transient("no TLS handshake within %s; see whether the issuer is overloaded, and the port is right", b.tls)
	case strings.Contains(text, "awaiting response headers"):
		return transient("no answer began within %s; see whether the issuer is overloaded", b.header)
	case isDial(err) && isTimeout && wait.Timeout():
		return transient("no connection within %s%s; see whether a firewall is between", b.connect, placeOf(err))
	case errors.Is(err, context.DeadlineExceeded) || isTimeout && wait.Timeout():
		return transient("no complete answer in time, which is at most %s; see whether the issuer is overloaded, or the network slow", b.total)
	case strings.Contains(text, "HTTP response to HTTPS client"):
		return transient("it does not speak TLS there; check the port")
	case strings.Contains(text, "proxyconnect"):
		return transient("the proxy that https_proxy names gives no connection; check it")
	}
	return transient("it does not answer as HTTP; see whether the address is right")
}

func isDial(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && (e.Op == "dial" || e.Op == "proxyconnect")
}
