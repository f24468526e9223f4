"""What the golden texts say otherwise since a sweep has one state, one count and one verdict per cell: (before, now).

Taken from the differences, each of which was read; `tests/test_golden.py` applies them after its own words.
"""
# ruff: noqa: E501

WORDS: tuple[tuple[str, str], ...] = (
    (
        '  <p class="progress partial">Not complete: 1 of 12 trials are done, 1 interrupted, 6 waiting, 4 skipped. What follows',
        '  <p class="progress partial">Incomplete: 1 of 8 trials done, 4 skipped. What follows',
    ),
    (
        '  <p class="statement">In 0 of 1 searched cells the pair is catastrophic on every seed; 1 without a hit.</p>\n',
        '  <p class="statement">In 0 of 1 searched cells the pair is catastrophic on the one seed of the search; 1 without a hit.</p>\n',
    ),
    (
        "    <dt>Evidence</dt><dd>A verdict says what the test images at hand did. &#39;shown&#39; beside it says that chance is excluded, too: paired one-sided tests find the gap not above 1 pp and the drop not below 10 pp, each at a level of 5 % unless the grid says otherwise (score test of Tango 1998). &#39;not shown&#39; says that there are too few images for that, and how many would do at the measured gap and share of answers that differ (power 90 %).</dd>\n    <dt>Choice</dt><dd>Of a searched cell&#39;s trials that keep parity on validation (of all, if none does), and whose objective is not significantly below the best (within 1.96 standard errors of the difference), the one with the smallest parity gap there. The objective is the drop minus 10 times the parity gap beyond 1 pp. Neither search nor choice looks at the test split.</dd>\n",
        "    <dt>Evidence</dt><dd>A verdict says what the test images at hand did. &#39;shown&#39; beside it says that chance is excluded, too: paired one-sided tests find the gap not above 1 pp and the drop not below 10 pp, each at a level of 5 % unless the grid says otherwise (score test of Tango 1998). &#39;within noise&#39; says that the verdict hangs on fewer images than the interval is wide, and how many would do at the measured gap and share of answers that differ (power 90 %); it is not counted as a hit. Intervals have one-sided 95 % bounds, those of the tests.</dd>\n    <dt>Choice</dt><dd>Of a searched cell&#39;s hits on validation (where there is none, of its trials that keep parity there, or else of all) whose objective is not significantly below the best (within 1.96 standard errors of the difference), the one with the smallest parity gap there. The objective is the drop minus 10 times the parity gap beyond 1 pp. Neither search nor choice looks at the test split.</dd>\n",
    ),
    (
        "    <dt>grid</dt><dd>begun</dd>\n",
        "    <dt>storage</dt><dd><storage></dd>\n    <dt>last launch</dt><dd>2023-11-14 22:34 UTC</dd>\n    <dt>first to last epoch</dt><dd>0:20:15</dd>\n    <dt>images</dt><dd>1,294 training</dd>\n    <dt>run a trial again</dt><dd>dptq-sweep reproduce UID --storage <storage>, with a UID of table1.csv (chosen_uid)</dd>\n    <dt>MLflow</dt><dd>dptq-sweep ui --storage <storage></dd>\n    <dt>grid</dt><dd>begun</dd>\n",
    ),
    (
        "Not complete: 1 of 12 trials are done, 1 interrupted, 6 waiting, 4 skipped. What follows",
        "Incomplete: 1 of 8 trials done, 4 skipped. What follows",
    ),
    (
        "In 0 of 1 searched cells the pair is catastrophic on every seed; 1 without a hit.\n",
        "In 0 of 1 searched cells the pair is catastrophic on the one seed of the search; 1 without a hit.\n",
    ),
    (
        " says otherwise (score test of Tango 1998). 'not shown' says that there are too few images for that, and how many would do at the measured gap and share of answers that differ (power 90 %).\n",
        " says otherwise (score test of Tango 1998). 'within noise' says that the verdict hangs on fewer images than the interval is wide, and how many would do at the measured gap and share of answers that differ (power 90 %); it is not counted as a hit. Intervals have one-sided 95 % bounds, those of the tests.\n",
    ),
    (
        "- **Choice**: Of a searched cell's trials that keep parity on validation (of all, if none does), and whose objective is not s",
        "- **Choice**: Of a searched cell's hits on validation (where there is none, of its trials that keep parity there, or else of all) whose objective is not s",
    ),
    (
        "\n- grid: begun\n",
        "\n- storage: <storage>\n\n- last launch: 2023-11-14 22:34 UTC\n\n- first to last epoch: 0:20:15\n\n- images: 1,294 training\n\n- run a trial again: dptq-sweep reproduce UID --storage <storage>, with a UID of table1.csv (chosen\\_uid)\n\n- MLflow: dptq-sweep ui --storage <storage>\n\n- grid: begun\n",
    ),
    (
        "test_resnet,I,A,60,5,detrimental,none,1,0.95916,0.30637,0,1,\ntest_resnet,I,A,60,5,detrimental,scale_quantile,0.99,0.95916,0.65859,0.539561,1,\ntest_resnet,I,A,60,5,detrimental,scale_quantile,0.95,0.95916,0.77825,0.722866,1,\ntest_resnet,I,A,60,5,detrimental,sites_at_full_precision,1,0.95916,0.46815,0.247829,1,2\ntest_resnet,I,A,60,5,detrimental,random_sites,1,0.95916,0.64324,0.5160465,2,\ntest_resnet,I,A,60,5,detrimental,sites_at_full_precision,2,0.95916,0.40488,0.150906,1,2 3\ntest_resnet,I,A,60,5,detrimental,random_sites,2,0.95916,0.64931,0.525345,2,\n",
        "test_resnet,I,A,60,5,detrimental,none,1,0.95916,0.30637,,1,\ntest_resnet,I,A,60,5,detrimental,scale_quantile,0.99,0.95916,0.65859,,1,\ntest_resnet,I,A,60,5,detrimental,scale_quantile,0.95,0.95916,0.77825,,1,\ntest_resnet,I,A,60,5,detrimental,sites_at_full_precision,1,0.95916,0.46815,,1,2\ntest_resnet,I,A,60,5,detrimental,random_sites,1,0.95916,0.64324,,2,\ntest_resnet,I,A,60,5,detrimental,sites_at_full_precision,2,0.95916,0.40488,,1,2 3\ntest_resnet,I,A,60,5,detrimental,random_sites,2,0.95916,0.64931,,2,\n",
    ),
    (
        '  <p class="progress partial">Not complete: 25 of 46 trials are done, 5 failed, 2 pruned, 14 skipped. What foll',
        '  <p class="progress partial">Complete with failures: 27 of 32 trials done, 5 failed, 14 skipped. What foll',
    ),
    (
        '    <td class="wraps"><span class="badge catastrophic">catastrophic</span></td>\n    <td class="number"></td>\n',
        '    <td class="wraps"><span class="badge catastrophic">catastrophic</span><span class="note">1 seed</span></td>\n    <td class="number"></td>\n',
    ),
    (
        '    <td class="wraps"><span class="badge catastrophic">catastrophic</span><span class="note">detrimental: 2 of 3 trials done, 1 failed</span></td>\n',
        '    <td class="wraps"><span class="badge catastrophic">catastrophic</span><span class="note">2 of 3 seeds\ndetrimental: 2 of 3 trials done, 1 failed</span></td>\n',
    ),
    (
        '    <td class="wraps"><span class="badge catastrophic">catastrophic</span><span class="note">detrimental: 3 of 4 trials done, 1 failed</span></td>\n    <td class="number">3<span class="note">(of 4)</span></td>\n',
        '    <td class="wraps"><span class="badge catastrophic">catastrophic</span><span class="note">2 of 2 seeds\ndetrimental: 3 of 4 trials done, 1 failed</span></td>\n    <td class="number">3<span class="note">(of 4)</span></td>\n',
    ),
    (
        '    <td class="wraps"><span class="badge catastrophic">catastrophic</span><span class="note">detrimental: 3 of 4 trials done, 1 failed</span></td>\n    <td class="number">4<span class="note">(of 5)</span></td>\n',
        '    <td class="wraps"><span class="badge catastrophic">catastrophic</span><span class="note">1 seed\ndetrimental: 3 of 4 trials done, 1 failed</span></td>\n    <td class="number">4<span class="note">(of 5)</span></td>\n',
    ),
    (
        '    <td class="wraps"><span class="badge partial-drop">partial drop</span><span class="note">robust: failed</span></td>\n',
        '    <td class="wraps"><span class="badge partial-drop">partial drop</span><span class="note">catastrophic on 0 of 3 seeds\nrobust: failed</span></td>\n',
    ),
    (
        '  <p class="statement">The detrimental network of test_resnet I-B, 82 bits loses most at site 3 (layer1.conv2): 59.4 pp once all sites before it are quantized; quantized alone it costs 63.8 pp.</p>\n  <p class="caption">The marked site moves the detrimental curve most. Effect of a site, by mode: before: lost by quantizing this site after all before it; after: lost by quantizing this site before all after it; single: lost by quantizing this site alone; leave one out: given back by leaving this site at full precision.</p>\n',
        '  <p class="statement">Left at full precision, site 3 (layer1.conv2) gives the detrimental network of test_resnet I-B, 82 bits back 55.1 of 64.4 pp; alone it costs 63.8 pp.</p>\n  <p class="caption">The marked site moves the detrimental curve most, beyond noise. Effect of a site, by mode: before: lost by quantizing this site after all before it; after: lost by quantizing this site before all after it; single: lost by quantizing this site alone; leave one out: given back by leaving this site at full precision.</p>\n',
    ),
    (
        '<td class="number">30.47<span class="note">(± 0.23)</span></td>\n    <td class="number">0<span class="note">(± 0.00)</span></td>\n',
        '<td class="number">30.47<span class="note">(± 0.23)</span></td>\n    <td class="number">0</td>\n',
    ),
    ('    <td class="number">64<span class="note">(± 14.38)</span></td>\n', '    <td class="number">74</td>\n'),
    ('    <td class="number">56<span class="note">(± 22.42)</span></td>\n', '    <td class="number">41</td>\n'),
    ('    <td class="number">59<span class="note">(± 48.71)</span></td>\n', '    <td class="number">94</td>\n'),
    ('    <td class="number">74<span class="note">(± 31.51)</span></td>\n', '    <td class="number">96</td>\n'),
    ('    <td class="number">15<span class="note">(± 0.81)</span></td>\n', '    <td class="number">14</td>\n'),
    ('    <td class="number">50<span class="note">(± 3.48)</span></td>\n', '    <td class="number">48</td>\n'),
    (
        '  <p class="statement">In 0 of 4 searched cells the pair is catastrophic on every seed; 1 on some seeds, 1 on the validation split only, 1 not confirmed, 1 without a hit.</p>\n',
        '  <p class="statement">In 1 of 4 searched cells the pair is catastrophic on every seed; 1 on some seeds, 1 on the validation split only, 1 without a hit.</p>\n',
    ),
    (
        '    <td class="wraps"><span class="badge partial-drop">sometimes: 2 of 3 seeds</span></td>\n',
        '    <td class="wraps"><span class="badge catastrophic">catastrophic</span><span class="note">2 of 3 seeds</span></td>\n',
    ),
    (
        '    <td class="wraps">not confirmed: 2 of 2 seeds</td>\n',
        '    <td class="wraps"><span class="badge catastrophic">catastrophic</span><span class="note">2 of 2 seeds</span></td>\n',
    ),
    (
        '    <td class="wraps">validation only: 0 of 3 seeds</td>\n',
        '    <td class="wraps"><span class="badge partial-drop">partial drop</span><span class="note">catastrophic on 0 of 3 seeds</span></td>\n',
    ),
    (
        "    <dt>grid</dt><dd>golden</dd>\n",
        "    <dt>storage</dt><dd><storage></dd>\n    <dt>last launch</dt><dd>2023-11-14 22:14 UTC</dd>\n    <dt>first to last epoch</dt><dd>0:12:50</dd>\n    <dt>images</dt><dd>1,294 training</dd>\n    <dt>run a trial again</dt><dd>dptq-sweep reproduce UID --storage <storage>, with a UID of table1.csv (chosen_uid)</dd>\n    <dt>MLflow</dt><dd>dptq-sweep ui --storage <storage></dd>\n    <dt>grid</dt><dd>golden</dd>\n",
    ),
    (
        "Not complete: 25 of 46 trials are done, 5 failed, 2 pruned, 14 skipped. What foll",
        "Complete with failures: 27 of 32 trials done, 5 failed, 14 skipped. What foll",
    ),
    (
        "| test\\_resnet | I (3..10) | A 60 | 3 | 96.42 | 96.06 | -0.82 | 95.98 | -55.30 | +0.44 | catastrophic |  |\n",
        "| test\\_resnet | I (3..10) | A 60 | 3 | 96.42 | 96.06 | -0.82 | 95.98 | -55.30 | +0.44 | catastrophic (1 seed) |  |\n",
    ),
    (
        "| test\\_resnet | I (3..10) | B 82 | 3 | 96.42 | 96.03 | -1.07 | 95.75 | -66.13 | +0.67 | catastrophic (detrimental: 2 of 3 trials done, 1 failed) | 3 (of 4) |\n| test\\_resnet | I (3..10) | B 82 | 5 | 96.42 | 96.07 | -0.70 | 95.86 | -29.37 | +0.56 | catastrophic (detrimental: 3 of 4 trials done, 1 failed) | 3 (of 4) |\n| test\\_resnet | I (3..10) | C 105 | 3 | 96.42 | 96.07 | -0.80 | 96.10 | -19.06 | +0.32 | catastrophic (detrimental: 3 of 4 trials done, 1 failed) | 4 (of 5) |\n| test\\_resnet | I (3..10) | C 105 | 5 | 96.42 |  |  | 96.30 | -3.13 | +0.12 | partial drop (robust: failed) | 2 (of 3) |\n",
        "| test\\_resnet | I (3..10) | B 82 | 3 | 96.42 | 96.03 | -1.07 | 95.75 | -66.13 | +0.67 | catastrophic (2 of 3 seeds; detrimental: 2 of 3 trials done, 1 failed) | 3 (of 4) |\n| test\\_resnet | I (3..10) | B 82 | 5 | 96.42 | 96.07 | -0.70 | 95.86 | -29.37 | +0.56 | catastrophic (2 of 2 seeds; detrimental: 3 of 4 trials done, 1 failed) | 3 (of 4) |\n| test\\_resnet | I (3..10) | C 105 | 3 | 96.42 | 96.07 | -0.80 | 96.10 | -19.06 | +0.32 | catastrophic (1 seed; detrimental: 3 of 4 trials done, 1 failed) | 4 (of 5) |\n| test\\_resnet | I (3..10) | C 105 | 5 | 96.42 |  |  | 96.30 | -3.13 | +0.12 | partial drop (catastrophic on 0 of 3 seeds; robust: failed) | 2 (of 3) |\n",
    ),
    (
        "The detrimental network of test\\_resnet I-B, 82 bits loses most at site 3 (layer1.conv2): 59.4 pp once all sites before it are quantized; quantized alone it costs 63.8 pp.\n",
        "Left at full precision, site 3 (layer1.conv2) gives the detrimental network of test\\_resnet I-B, 82 bits back 55.1 of 64.4 pp; alone it costs 63.8 pp.\n",
    ),
    (
        " marked site moves the detrimental curve most. Effect of a site, by mo",
        " marked site moves the detrimental curve most, beyond noise. Effect of a site, by mo",
    ),
    (
        "| test\\_resnet | I-A | 60 | 2 | detrimental | none | 1 | 95.57 (± 0.49) | 30.47 (± 0.23) | 0 (± 0.00) |  |\n| test\\_resnet | I-A | 60 | 2 | detrimental | scale from a quantile | 0.99 | 95.57 (± 0.49) | 72.20 (± 8.96) | 64 (± 14.38) |  |\n| test\\_resnet | I-A | 60 | 2 | detrimental | scale from a quantile | 0.95 | 95.57 (± 0.49) | 67.24 (± 14.97) | 56 (± 22.42) |  |\n| test\\_resnet | I-A | 60 | 2 | detrimental | worst sites at full precision | 1 | 95.57 (± 0.49) | 68.96 (± 31.32) | 59 (± 48.71) | 2 |\n| test\\_resnet | I-A | 60 | 2 | detrimental | random sites at full precision | 1 | 95.57 (± 0.49) | 78.53 (± 20.09) | 74 (± 31.51) |  |\n| test\\_resnet | I-A | 60 | 2 | detrimental | worst sites at full precision | 2 | 95.57 (± 0.49) | 39.93 (± 0.79) | 15 (± 0.81) | 2 3 |\n| test\\_resnet | I-A | 60 | 2 | detrimental | random sites at full precision | 2 | 95.57 (± 0.49) | 63.08 (± 2.62) | 50 (± 3.48) |  |\n",
        "| test\\_resnet | I-A | 60 | 2 | detrimental | none | 1 | 95.57 (± 0.49) | 30.47 (± 0.23) | 0 |  |\n| test\\_resnet | I-A | 60 | 2 | detrimental | scale from a quantile | 0.99 | 95.57 (± 0.49) | 72.20 (± 8.96) | 74 |  |\n| test\\_resnet | I-A | 60 | 2 | detrimental | scale from a quantile | 0.95 | 95.57 (± 0.49) | 67.24 (± 14.97) | 41 |  |\n| test\\_resnet | I-A | 60 | 2 | detrimental | worst sites at full precision | 1 | 95.57 (± 0.49) | 68.96 (± 31.32) | 94 | 2 |\n| test\\_resnet | I-A | 60 | 2 | detrimental | random sites at full precision | 1 | 95.57 (± 0.49) | 78.53 (± 20.09) | 96 |  |\n| test\\_resnet | I-A | 60 | 2 | detrimental | worst sites at full precision | 2 | 95.57 (± 0.49) | 39.93 (± 0.79) | 14 | 2 3 |\n| test\\_resnet | I-A | 60 | 2 | detrimental | random sites at full precision | 2 | 95.57 (± 0.49) | 63.08 (± 2.62) | 48 |  |\n",
    ),
    (
        "In 0 of 4 searched cells the pair is catastrophic on every seed; 1 on some seeds, 1 on the validation split only, 1 not confirmed, 1 without a hit.\n",
        "In 1 of 4 searched cells the pair is catastrophic on every seed; 1 on some seeds, 1 on the validation split only, 1 without a hit.\n",
    ),
    (
        "| test\\_resnet I-B, 82 bits, seed 3 | sometimes: 2 of 3 seeds | 3 | +40.19 (-43.4 to 1",
        "| test\\_resnet I-B, 82 bits, seed 3 | catastrophic (2 of 3 seeds) | 3 | +40.19 (-43.4 to 1",
    ),
    (
        "| test\\_resnet I-B, 82 bits, seed 5 | not confirmed: 2 of 2 seeds | 3 | +28.34 (15.3 to 41.4) | +0.51 (-0.1 to 1.1) | 100 (34.2 to 100.0) |  |\n| test\\_resnet I-C, 105 bits, seed 5 | validation only: 0 of 3 seeds | 2 | +2.09 (-0.2 to 4.4) | +0.24 (-0.1 to 0.6) | 0 (0.0 to 56.1) |  |\n",
        "| test\\_resnet I-B, 82 bits, seed 5 | catastrophic (2 of 2 seeds) | 3 | +28.34 (15.3 to 41.4) | +0.51 (-0.1 to 1.1) | 100 (34.2 to 100.0) |  |\n| test\\_resnet I-C, 105 bits, seed 5 | partial drop (catastrophic on 0 of 3 seeds) | 2 | +2.09 (-0.2 to 4.4) | +0.24 (-0.1 to 0.6) | 0 (0.0 to 56.1) |  |\n",
    ),
    (
        "\n- grid: golden\n",
        "\n- storage: <storage>\n\n- last launch: 2023-11-14 22:14 UTC\n\n- first to last epoch: 0:12:50\n\n- images: 1,294 training\n\n- run a trial again: dptq-sweep reproduce UID --storage <storage>, with a UID of table1.csv (chosen\\_uid)\n\n- MLflow: dptq-sweep ui --storage <storage>\n\n- grid: golden\n",
    ),
    (
        "t/I/B/detrimental/seed3,test_resnet,I,B,82,3,sometimes,3,4,,0,3,22,75.192,4,22,",
        "t/I/B/detrimental/seed3,test_resnet,I,B,82,3,catastrophic (2 of 3 seeds),3,4,,0,3,22,75.192,4,22,",
    ),
    (
        "test_resnet/I/B/detrimental/seed5,test_resnet,I,B,82,5,not confirmed,3,4,,0,3,26,24.2845,3,24,22.21925,b76afad947739c24,True,b76afad947739c24,3,2,2,,,0.283373,0.1525117974,0.4142342026,0.0051115,-0.001146305833,0.01136930583,1,0.3423802275,1,\ntest_resnet/I/C/detrimental/seed5,test_resnet,I,C,105,5,validation only,3,3,,0,4,24,19.806,3,24,19.806,d579f174b9a13a7b,False,d579f174b9a13a7b,2,3,0,,,0.02092066667,-0.002154176091,0.04399550942,0.002416,-0.001208719564,0.006040719564,0,0,0.5614970318,\n",
        "test_resnet/I/B/detrimental/seed5,test_resnet,I,B,82,5,catastrophic (2 of 2 seeds),3,4,,0,3,26,24.2845,3,24,22.21925,b76afad947739c24,True,b76afad947739c24,3,2,2,,,0.283373,0.1525117974,0.4142342026,0.0051115,-0.001146305833,0.01136930583,1,0.3423802275,1,\ntest_resnet/I/C/detrimental/seed5,test_resnet,I,C,105,5,partial drop (catastrophic on 0 of 3 seeds),3,3,,0,4,24,19.806,3,24,19.806,d579f174b9a13a7b,False,d579f174b9a13a7b,2,3,0,,,0.02092066667,-0.002154176091,0.04399550942,0.002416,-0.001208719564,0.006040719564,0,0,0.5614970318,\n",
    ),
    (
        '  "num_trials": 46\n',
        '  "num_failed": 5,\n  "num_needed": 32,\n  "num_planned": 46,\n  "num_skipped": 14,\n  "state": "complete with failures"\n',
    ),
    (
        '  "num_trials": 12\n',
        '  "num_failed": 0,\n  "num_needed": 8,\n  "num_planned": 12,\n  "num_skipped": 4,\n  "state": "incomplete"\n',
    ),
    (
        "Table 1, test_resnet: test split, percent\n\nwhite R D D\ncell bits box R FP delta D FP delta D gap D verdict trial\n",
        "sweep begun is incomplete: 1 of 8 trials done, 4 skipped\nTable 1, test_resnet: test split, percent\n\nR D D\ncell bits R FP delta D FP delta D gap D verdict trial\n",
    ),
    (
        "white R D D\ncell bits box R FP delta D FP delta D gap D verdict trial\n",
        "R D D\ncell bits R FP delta D FP delta D gap D verdict trial\n",
    ),
    (
        "R robust, D detrimental; delta = quantized - FP, gap = white box - FP,\nin pp\n",
        "R robust, D detrimental; delta = quantized - FP, gap = white box\n- FP, in pp\n",
    ),
    (
        ' "pairs": [\n',
        ' "cells": [\n  {\n   "cell_id": "test_resnet/I/A/detrimental/seed3",\n   "evidence": "",\n   "is_hit": true,\n   "num_catastrophic": 1,\n   "num_seeds": 1,\n   "uid": "b09a32d79a80d86a",\n   "verdict": "catastrophic (1 seed)",\n   "word": "catastrophic"\n  },\n  {\n   "cell_id": "test_resnet/I/B/detrimental/seed3",\n   "evidence": "",\n   "is_hit": true,\n   "num_catastrophic": 2,\n   "num_seeds": 3,\n   "uid": "fc9090624d5ccf63",\n   "verdict": "catastrophic (2 of 3 seeds)",\n   "word": "catastrophic"\n  },\n  {\n   "cell_id": "test_resnet/I/C/detrimental/seed3",\n   "evidence": "",\n   "is_hit": true,\n   "num_catastrophic": 1,\n   "num_seeds": 1,\n   "uid": "b317ee71aea4d4a8",\n   "verdict": "catastrophic (1 seed)",\n   "word": "catastrophic"\n  },\n  {\n   "cell_id": "test_resnet/I/A/detrimental/seed5",\n   "evidence": "",\n   "is_hit": false,\n   "num_catastrophic": 0,\n   "num_seeds": 1,\n   "uid": "21abc66c96f9d436",\n   "verdict": "partial drop",\n   "word": "partial drop"\n  },\n  {\n   "cell_id": "test_resnet/I/B/detrimental/seed5",\n   "evidence": "",\n   "is_hit": true,\n   "num_catastrophic": 2,\n   "num_seeds": 2,\n   "uid": "b76afad947739c24",\n   "verdict": "catastrophic (2 of 2 seeds)",\n   "word": "catastrophic"\n  },\n  {\n   "cell_id": "test_resnet/I/C/detrimental/seed5",\n   "evidence": "",\n   "is_hit": false,\n   "num_catastrophic": 0,\n   "num_seeds": 3,\n   "uid": "d579f174b9a13a7b",\n   "verdict": "partial drop (catastrophic on 0 of 3 seeds)",\n   "word": "partial drop"\n  }\n ],\n "pairs": [\n',
    ),
    (
        " ]\n",
        ' ],\n "sweep": {\n  "name": "golden",\n  "num_done": 27,\n  "num_failed": 5,\n  "num_needed": 32,\n  "num_planned": 46,\n  "num_skipped": 14,\n  "state": "complete with failures"\n }\n',
    ),
    (
        "Table 1, test_resnet: test split, percent\n\nwhite R D D\ncell bits seed box R FP delta D FP delta D gap D verdict trial\n",
        "sweep golden is complete with failures: 27 of 32 trials done, 5 failed, 14 skipped\nTable 1, test_resnet: test split, percent\n\nR D D\ncell bits seed R FP delta D FP delta D gap D verdict trial\n",
    ),
    (
        "white R D D\ncell bits seed box R FP delta D FP delta D gap D verdict trial\n",
        "R D D\ncell bits seed R FP delta D FP delta D gap D verdict trial\n",
    ),
    (
        "I-A 60 3 96.42 96.06 -0.82 95.98 -55.30 +0.44 catastrophic\nI-A 60 5 96.42 96.05 -0.83 95.87 -8.10 +0.55 partial drop\nI-B 82 3 96.42 96.03 -1.07 95.75 -66.13 +0.67 catastrophic 3 of 4\n",
        "I-A 60 3 96.06 -0.82 95.98 -55.30 +0.44 catastrophic\n1 seed\nI-A 60 5 96.05 -0.83 95.87 -8.10 +0.55 partial drop\nI-B 82 3 96.03 -1.07 95.75 -66.13 +0.67 catastrophic 3 of 4\n2 of 3 seeds\n",
    ),
    (
        "I-B 82 5 96.42 96.07 -0.70 95.86 -29.37 +0.56 catastrophic 3 of 4\n",
        "I-B 82 5 96.07 -0.70 95.86 -29.37 +0.56 catastrophic 3 of 4\n2 of 2 seeds\n",
    ),
    (
        "I-C 105 3 96.42 96.07 -0.80 96.10 -19.06 +0.32 catastrophic 4 of 5\n",
        "I-C 105 3 96.07 -0.80 96.10 -19.06 +0.32 catastrophic 4 of 5\n1 seed\n",
    ),
    (
        "I-C 105 5 96.42 96.30 -3.13 +0.12 partial drop 2 of 3\n",
        "I-C 105 5 96.30 -3.13 +0.12 partial drop 2 of 3\ncatastrophic on 0 of 3 seeds\n",
    ),
    ("I-200b 200 3 96.90 refused\nI-200b 200 5 96.90 refused\n", "I-200b 200 3 refused\nI-200b 200 5 refused\n"),
    (
        "R robust, D detrimental; delta = quantized - FP, gap = white box - FP, in pp\n",
        "R robust, D detrimental; delta = quantized - FP, gap = white box - FP, in pp; white box 96.42 to 96.90\n",
    ),
    (
        "test_resnet I-B, 82 bits, seed 3 sometimes: 2 of 3 seeds 4 4 22\n",
        "test_resnet I-B, 82 bits, seed 3 catastrophic 4 4 22\n2 of 3 seeds\n",
    ),
    (
        "test_resnet I-B, 82 bits, seed 5 not confirmed: 2 of 2 seeds 4 3 24\ntest_resnet I-C, 105 bits, seed 5 validation only: 0 of 3 seeds 3 3 24\n",
        "test_resnet I-B, 82 bits, seed 5 catastrophic 4 3 24\n2 of 2 seeds\ntest_resnet I-C, 105 bits, seed 5 partial drop 3 3 24\ncatastrophic on 0 of 3 seeds\n",
    ),
    (' "best_by_cell": {},\n', ' "best_by_cell": {},\n "cells": [],\n'),
    (' "eta_seconds": 380.868,\n', ' "eta_seconds_high": 836.13,\n "eta_seconds_low": 79.8596,\n'),
    (
        ' "gpu_hours": 0.0,\n "has_driver": false,\n',
        ' "gpu_hours": 0.0,\n "has_driver": false,\n "num_done": 1,\n "num_failed": 0,\n "num_needed": 8,\n "num_planned": 12,\n "num_skipped": 4,\n',
    ),
    (' "sweep": "begun"\n', ' "state": "incomplete",\n "sweep": "begun"\n'),
    (
        ' },\n "cost": null,\n',
        ' },\n "cells": [\n  {\n   "cell_id": "test_resnet/I/A/detrimental/seed3",\n   "evidence": "",\n   "is_hit": true,\n   "num_catastrophic": 1,\n   "num_seeds": 1,\n   "uid": "b09a32d79a80d86a",\n   "verdict": "catastrophic (1 seed)",\n   "word": "catastrophic"\n  },\n  {\n   "cell_id": "test_resnet/I/B/detrimental/seed3",\n   "evidence": "",\n   "is_hit": true,\n   "num_catastrophic": 2,\n   "num_seeds": 3,\n   "uid": "fc9090624d5ccf63",\n   "verdict": "catastrophic (2 of 3 seeds)",\n   "word": "catastrophic"\n  },\n  {\n   "cell_id": "test_resnet/I/C/detrimental/seed3",\n   "evidence": "",\n   "is_hit": true,\n   "num_catastrophic": 1,\n   "num_seeds": 1,\n   "uid": "b317ee71aea4d4a8",\n   "verdict": "catastrophic (1 seed)",\n   "word": "catastrophic"\n  },\n  {\n   "cell_id": "test_resnet/I/A/detrimental/seed5",\n   "evidence": "",\n   "is_hit": false,\n   "num_catastrophic": 0,\n   "num_seeds": 1,\n   "uid": "21abc66c96f9d436",\n   "verdict": "partial drop",\n   "word": "partial drop"\n  },\n  {\n   "cell_id": "test_resnet/I/B/detrimental/seed5",\n   "evidence": "",\n   "is_hit": true,\n   "num_catastrophic": 2,\n   "num_seeds": 2,\n   "uid": "b76afad947739c24",\n   "verdict": "catastrophic (2 of 2 seeds)",\n   "word": "catastrophic"\n  },\n  {\n   "cell_id": "test_resnet/I/C/detrimental/seed5",\n   "evidence": "",\n   "is_hit": false,\n   "num_catastrophic": 0,\n   "num_seeds": 3,\n   "uid": "d579f174b9a13a7b",\n   "verdict": "partial drop (catastrophic on 0 of 3 seeds)",\n   "word": "partial drop"\n  }\n ],\n "cost": null,\n',
    ),
    (' "eta_seconds": 119.984,\n', ' "eta_seconds_high": null,\n "eta_seconds_low": null,\n'),
    (
        ' "gpu_hours": 0.02128111111,\n "has_driver": false,\n',
        ' "gpu_hours": 0.02128111111,\n "has_driver": false,\n "num_done": 27,\n "num_failed": 5,\n "num_needed": 32,\n "num_planned": 46,\n "num_skipped": 14,\n',
    ),
    ('   "verdict": "sometimes"\n', '   "verdict": "catastrophic (2 of 3 seeds)"\n'),
    ('   "verdict": "not confirmed"\n', '   "verdict": "catastrophic (2 of 2 seeds)"\n'),
    ('   "verdict": "validation only"\n', '   "verdict": "partial drop (catastrophic on 0 of 3 seeds)"\n'),
    (' "sweep": "golden"\n', ' "state": "complete with failures",\n "sweep": "golden"\n'),
    ("sweep golden in <storage>: no launch is at work\n", "sweep golden in <storage>: complete with failures\n"),
    (
        "27/32 trials done; best pair drops 72.0 pp at a parity gap of +0.5 pp (test_resnet/I/B/detrimental/seed3/trial3, validation); about 0:02:00 left\n",
        "27 of 32 trials done, 5 failed, 14 skipped; best pair drops 72.0 pp at a parity gap of +0.5 pp (test_resnet/I/B/detrimental/seed3/trial3, validation)\n",
    ),
    (
        "best pair per cell, validation drop parity gap\n",
        "best pair per cell, validation drop parity gap verdict on the cell, test\n",
    ),
    (
        "test_resnet/I/A/detrimental/seed3 61.0 pp +0.2 pp\n",
        "test_resnet/I/A/detrimental/seed3 61.0 pp +0.2 pp catastrophic (1 seed)\n",
    ),
    (
        "test_resnet/I/B/detrimental/seed3/trial3 72.0 pp +0.5 pp\n",
        "test_resnet/I/B/detrimental/seed3/trial3 72.0 pp +0.5 pp catastrophic (2 of 3 seeds)\n",
    ),
    (
        "test_resnet/I/C/detrimental/seed3/trial4 7.0 pp +0.1 pp\n",
        "test_resnet/I/C/detrimental/seed3/trial4 7.0 pp +0.1 pp catastrophic (1 seed)\n",
    ),
    (
        "test_resnet/I/A/detrimental/seed5 13.2 pp +0.4 pp\n",
        "test_resnet/I/A/detrimental/seed5 13.2 pp +0.4 pp partial drop\n",
    ),
    (
        "test_resnet/I/B/detrimental/seed5/trial3 33.2 pp +0.4 pp\ntest_resnet/I/C/detrimental/seed5/trial2 25.2 pp +0.2 pp\n",
        "test_resnet/I/B/detrimental/seed5/trial3 33.2 pp +0.4 pp catastrophic (2 of 2 seeds)\ntest_resnet/I/C/detrimental/seed5/trial2 25.2 pp +0.2 pp partial drop (catastrophic on 0 of 3 seeds)\n",
    ),
    (
        "finish it with: dptq-sweep resume golden --storage <storage>\n",
        "finish it with: dptq-sweep resume golden --failed --storage <storage>\n",
    ),
    (
        "sweeps/golden/report.html\n\nsweep golden is complete with failures: 27 of 32 trials done, 5 failed, 14 skipped\n",
        "sweeps/golden/report.html\n\n",
    ),
    (
        "25 done, 5 failed, 2 pruned, 14 skipped\nnot finished, 4 of 32 trials are not done; go on with: dptq-sweep resume golden --storage <storage>\n",
        "27 done, 5 failed, 14 skipped\nsweep golden is complete with failures: 27 of 32 trials done, 5 failed, 14 skipped\n",
    ),
    (
        '"dptq.trials": "46",',
        '"dptq.state": "complete with failures",\n   "dptq.trials_needed": "32",\n   "dptq.trials_planned": "46",\n   "dptq.trials_skipped": "14",',
    ),
    ('"dptq.trials_done": "25"', '"dptq.trials_done": "27"'),
)
