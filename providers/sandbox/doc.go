// Package sandbox holds look-alikes of the login APIs that tokend talks to: servers
// that answer as the vendors' documents say the real ones do, and that break down
// on request. The tests of providers and of the daemon run against them, and so
// does `tokend demo`.
//
// They are written from the vendors' documents and never from tokend's own client,
// and the package imports nothing of the module: otherwise a misreading would sit
// on both sides and no test could see it.
//
// A look-alike is a Server over the knobs of one API:
//
//	finam := sandbox.New(sandbox.Finam{})            // documented defaults
//	base := httptest.NewServer(finam).URL            // or Listen and Run
//	finam.Set(func(k *sandbox.Finam) { k.TTL = time.Minute })
//	finam.Fail(2, sandbox.Fault{Status: 503, RetryAfter: "7"})
//	err := finam.Wait(ctx, 3)                        // until three calls came
//
// What all of them share is in Server: the clock that can be wrong, latency,
// scripted faults, the call log and the counters. No secret and no token is kept
// in the log, and tokens are kept as hashes.
//
// # Where the facts come from
//
// Finam: github.com/FinamWeb/finam-trade-api, docs/swagger/api.swagger.json and
// proto/grpc/tradeapi/v1/{auth,accounts,metrics}, for paths, fields and the texts
// of the errors; api.finam.ru/docs/rest. The REST side is a grpc-gateway, whose
// runtime/errors.go and runtime/mux.go (github.com/grpc-ecosystem/grpc-gateway)
// give the shape of errors, the status of each code, 501 for a wrong method and
// WWW-Authenticate. That a session call with an Authorization header is rejected,
// and in which words, is in pull request 107 of github.com/DBoyara/FinamTradeApiPy;
// the sample account is in its tests. The life of 15 minutes is what the public
// clients agree on. The status of that rejection, which of two failing checks
// speaks first and the names of the quotas are not written down anywhere: they are
// assumptions, and each is marked where it is made.
//
// Noventiq: docs.noventiq.com/en-en/checkout/authentication-api-request for the
// login, authentication-api-token-usage for the header AuthorizationJWT and the
// errors 1007 to 1009, orders-api-get-order for the protected resource. What the
// documents leave open follows the software the server is evidently built on:
// Symfony for unknown URLs and wrong methods, LexikJWTAuthenticationBundle for how
// the header is read and for the stock error body.
//
// SimpleJWT: the exchanger's page on POST /token/, whose sample tokens give the
// claims and the lives; its texts are those of LANGUAGE_CODE ru-ru. Everything beyond
// that page is what the libraries do: github.com/jazzband/djangorestframework-simplejwt
// (serializers.py, tokens.py, authentication.py, exceptions.py and the ru_RU
// catalogue, at v5.3.1 to v5.5.1 and at its head), github.com/encode/django-rest-framework
// (exceptions.py, views.py, fields.py, parsers.py, the ru and ru_RU catalogues) and
// github.com/django/django (middleware/common.py for the 301, views/defaults.py for
// the pages). A user_id that is a number dates the sample before 5.5.1. That a user
// who was deleted makes refresh a 500 from 5.4.0 to 5.5.1 follows from the source,
// where nobody catches DoesNotExist; the changelog calls that a 404. The protected
// resource, and how a token from another address is turned down, are assumptions.
//
// Etna: github.com/etnatrader/gitbookHelp, web-api/trading-api/authentication for
// the two requests, their answers and the common mistakes, managing-users/get-users-info
// for the protected resource; github.com/AutoSharesAPI/API, openapi.yaml for /token
// and /logout, pages/{error-codes,rate-limits,environments,quickstart,sdks}.md for the
// other errors, the limit of ten logins a minute and the life of tokens, on which
// these pages differ. Its errors for unknown URLs and methods are ASP.NET's. Not
// written down, and assumed here: the life of a ticket, any lockout, the words about
// a wrong code, the status of an expired password, the body of 429.
//
// # Adding a look-alike
//
// One file, with one exported struct: the knobs. Its zero value behaves as the
// documents say, and every field is a documented way to differ. The struct
// implements vendor: login names the path of the login call, act answers one call,
// failure words an outage. act runs under the server's lock, sees one consistent
// set of knobs, keeps what it must remember in state, and returns the answer
// instead of writing it, so that every fault works for every API. Tests assert the
// bytes that the documents show, over real HTTP.
package sandbox
