#!/usr/bin/perl
# The sample web server: one page that says which env answers and how often it was asked. Plain perl, since every Debian
# and Ubuntu image has that.
#
#   perl server.pl [PORT] [FILE]     PORT: 8000; FILE keeps the count: ./visits
use strict;
use warnings;
use IO::Socket::INET;

my $port = shift // 8000;
my $file = shift // 'visits';

my $server = IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => $port, Listen => 64, ReuseAddr => 1)
    or die "cannot listen on port $port: $@\n";
$SIG{CHLD} = 'IGNORE';
print "listening on port $port\n";

while (1) {
    my $client = $server->accept or next;    # interrupted, or gone already
    # A process each: browsers open connections ahead of time and say nothing on them.
    my $pid = fork;
    if (defined $pid && $pid == 0) {
        close $server;
        answer($client);
        exit 0;
    }
    close $client;
}

sub answer {
    my ($client) = @_;
    alarm 30;
    my $request = head($client) // return;
    my ($method, $path) = $request =~ m{^(GET|HEAD) (\S+) HTTP/1};
    return reply($client, '405 Method Not Allowed', "only GET here\n", 1) unless defined $method;
    return reply($client, '404 Not Found', "there is only / here\n", $method eq 'GET') if $path !~ m{^/(\?|$)};
    reply($client, '200 OK', page(count()), $method eq 'GET');
}

# The request line; the headers after it say nothing that matters here.
sub head {
    my ($client) = @_;
    local $/ = "\r\n";
    my $request = <$client> // return;
    while (defined(my $header = <$client>)) {
        last if $header eq "\r\n";
    }
    return $request;
}

sub reply {
    my ($client, $status, $body, $with_body) = @_;
    my $type = $status =~ /^200/ ? 'text/html' : 'text/plain';
    print $client "HTTP/1.1 $status\r\nContent-Type: $type; charset=utf-8\r\nContent-Length: " . length($body)
        . "\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n" . ($with_body ? $body : '');
    close $client;
}

# Locked for as long as it takes: two answers at once must not count as one.
sub count {
    open my $fh, '+>>', $file or return 0;
    flock $fh, 2;
    seek $fh, 0, 0;
    my $number = (<$fh> // 0) + 1;
    truncate $fh, 0;
    print $fh "$number\n";
    close $fh;
    return $number;
}

# Read anew for every answer: a clone of this env has a name of its own.
sub first_line {
    my ($name) = @_;
    open my $fh, '<', $name or return '';
    my $line = <$fh> // '';
    chomp $line;
    return $line;
}

sub system_name {
    open my $fh, '<', '/etc/os-release' or return 'Linux';
    while (<$fh>) {
        return $1 if /^PRETTY_NAME="?(.*?)"?$/;
    }
    return 'Linux';
}

sub escape {
    my ($text) = @_;
    my %entity = ('&' => '&amp;', '<' => '&lt;', '>' => '&gt;', '"' => '&quot;');
    $text =~ s/([&<>"])/$entity{$1}/g;
    return $text;
}

sub page {
    my ($visits) = @_;
    my $name   = escape(first_line('/etc/hostname') || first_line('/proc/sys/kernel/hostname'));
    my $system = escape(system_name());
    my $times  = $visits == 1 ? 'once' : "$visits times";
    return <<"END";
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$name</title>
<style>
  :root { color-scheme: light dark; font: 17px/1.5 system-ui, sans-serif; }
  body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: Canvas; color: CanvasText; }
  main { max-width: 30rem; padding: 2rem; }
  h1 { font-size: 2.4rem; line-height: 1.1; margin: 0 0 .3rem; letter-spacing: -.02em; }
  h1::before { content: ""; display: inline-block; width: .55em; height: .55em; margin-right: .4em; border-radius: 50%;
    background: #2fa36b; }
  p { margin: .6rem 0; }
  .dim { opacity: .65; }
  strong { font-variant-numeric: tabular-nums; }
  code { font: .9em ui-monospace, monospace; padding: .1em .35em; border-radius: .3em;
    background: color-mix(in srgb, CanvasText 9%, transparent); }
</style>
<main>
  <h1>$name</h1>
  <p class="dim">$system, in an env of its own</p>
  <p>This page was shown <strong>$times</strong>. The number lives in the env: take a snapshot, load the page a few times
    more, go back to the snapshot, and see.</p>
  <p><code>lxc-dev-manager container snapshot create main before</code><br>
    <code>lxc-dev-manager container reset main before</code></p>
</main>
</html>
END
}
