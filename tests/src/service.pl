# A TCP service of one address, until its guest stops. Arguments: address, port. It is there when this has ended.
# What a connection's first byte asks for: `e` sends everything back and, once all has come, `end`;
# `b` sends `bye` and ends at once, and sends the number of bytes that come all the same to whoever asks with `?`.
use strict;
use warnings;
use Socket qw(:DEFAULT IPPROTO_IPV6 IPV6_V6ONLY inet_pton pack_sockaddr_in6);

my ($address, $port) = @ARGV;
my $six = $address =~ /:/;
my $packed = inet_pton($six ? AF_INET6 : AF_INET, $address) or die "no address $address\n";
my $name = $six ? pack_sockaddr_in6($port, $packed) : pack_sockaddr_in($port, $packed);
socket(my $listener, $six ? PF_INET6 : PF_INET, SOCK_STREAM, 0) or die "socket: $!\n";
setsockopt($listener, SOL_SOCKET, SO_REUSEADDR, 1) or die "option: $!\n";
# IPv6 alone: else `::` would be reached by IPv4 too.
if ($six) { setsockopt($listener, IPPROTO_IPV6, IPV6_V6ONLY, 1) or die "option: $!\n" }
bind($listener, $name) or die "bind: $!\n";
listen($listener, 1024) or die "listen: $!\n";

exit 0 if fork();
close(STDIN);
close(STDOUT);
close(STDERR);
$SIG{CHLD} = 'IGNORE';
pipe(my $counts, my $count) or die;
while (accept(my $client, $listener)) {
    if (fork()) { close($client); next }
    close($listener);
    sysread($client, my $first, 1) or exit 0;
    if ($first eq 'e') {
        while (my $got = sysread($client, my $bytes, 65536)) {
            for (my $sent = 0; $sent < $got;) { $sent += syswrite($client, $bytes, $got - $sent, $sent) // exit 1 }
        }
        syswrite($client, 'end');
    } elsif ($first eq 'b') {
        syswrite($client, 'bye');
        shutdown($client, 1);
        my $all = 0;
        while (my $got = sysread($client, my $bytes, 65536)) { $all += $got }
        syswrite($count, "$all\n");
    } elsif ($first eq '?') {
        sysread($counts, my $line, 64);
        syswrite($client, $line);
    }
    exit 0;
}
