#!/usr/bin/perl
# Finds retired words in the files whose names come on stdin. A line with `retired-word: ok` is allowed, and so is a part
# between `textlint-disable` and `textlint-enable`.
use strict;
use warnings;
use FindBin '$Bin';

sub pairs {
    my ($name) = @_;
    open my $file, '<', "$Bin/$name" or die "$name: $!\n";
    return map { [split /\t/, $_, 2] } grep { /^[^#]/ } map { chomp; $_ } <$file>;
}

my @words = map { [qr/$_->[0]/, $_->[1]] } pairs('retired-words.txt');
my %allowed;
push @{ $allowed{ $_->[0] } }, $_->[1] for pairs('allowed.txt');

my $found = 0;
while (my $path = <STDIN>) {
    chomp $path;
    open my $file, '<', $path or next;
    my $off = 0;
    while (my $line = <$file>) {
        $off = 1 if $line =~ /textlint-disable/;
        $off = 0 if $line =~ /textlint-enable/;
        next if $off || $line =~ /retired-word: ok/;
        next if grep { index($line, $_) >= 0 } @{ $allowed{$path} // [] };
        for my $word (@words) {
            next if $line !~ $word->[0];
            print "$path:$.: `$&`: use $word->[1]\n";
            $found++;
        }
    }
}
exit($found ? 1 : 0);
