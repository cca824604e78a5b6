package issuertest

import (
	"crypto/tls"
	"crypto/x509"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// The pages of an OIDCProvider, as a browser takes them apart.
var (
	formOf  = regexp.MustCompile(`(?s)<form[^>]* action="([^"]*)".*?</form>`)
	inputOf = regexp.MustCompile(`(?s)<input[^>]*>`)
	nameOf  = regexp.MustCompile(` name="([^"]*)"`)
	valueOf = regexp.MustCompile(` value="([^"]*)"`)
)

// LetIn does what a person does at the address that a device shows: types the
// code, logs in and consents, form after form.
func (p *OIDCProvider) LetIn(t testing.TB, address, code string) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(p.CA.cert)
	browser := &http.Client{
		Jar:       must(cookiejar.New(nil))(t),
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
	}
	defer browser.CloseIdleConnections()
	page := body(t)(browser.Get(address))
	for range 5 {
		if strings.Contains(page, "Sign-in Success") {
			return
		}
		form := formOf.FindStringSubmatch(page)
		if form == nil {
			break
		}
		page = body(t)(browser.PostForm(html.UnescapeString(form[1]), filledIn(form[0], code)))
	}
	t.Fatalf("the device was not let in:\n%s", page)
}

// filledIn are the fields of a form with what a person writes into them.
func filledIn(form, code string) url.Values {
	fields := url.Values{"login": {"person"}, "password": {"any"}, "user_code": {code}}
	for _, input := range inputOf.FindAllString(form, -1) {
		name, value := nameOf.FindStringSubmatch(input), valueOf.FindStringSubmatch(input)
		if name != nil && value != nil {
			fields.Set(name[1], html.UnescapeString(value[1]))
		}
	}
	return fields
}

func body(t testing.TB) func(*http.Response, error) string {
	return func(r *http.Response, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		return string(must(io.ReadAll(r.Body))(t))
	}
}
